"""What a run's `spec.json` says against what is here today: cards, suite, data, weights, code."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from vlbench.backbones import BACKBONES
from vlbench.cards import resolve_method
from vlbench.cards.files import own_cards
from vlbench.cards.load import hashed, load_method, load_suites, load_task
from vlbench.cards.schema import MethodCard, TaskCard, TuningFacts
from vlbench.config import leaves
from vlbench.errors import MissingError, VlbenchError
from vlbench.running.plan import outside_code
from vlbench.running.spec import RunSpec
from vlbench.running.sums import hash_of
from vlbench.techniques import parts_of
from vlbench.verifying.explanations import check_prose, check_tuning
from vlbench.verifying.findings import Findings
from vlbench.verifying.ground import Ground
from vlbench.verifying.spec_check import SPEC
from vlbench.verifying.trust import outside_names, refusal
from vlbench.verifying.weights import Weights

SINCE = "changed since the run"


class Today:
    """What specs say, against what is here now; each thing is looked at once."""

    def __init__(self, weights: Weights, is_trusting: bool) -> None:
        self._is_trusting = is_trusting
        self._weights = weights
        self._method = cache(self._resolve)

    def check(self, spec: RunSpec, ground: Ground, findings: Findings) -> None:
        """Cards, suite, data, weights and code: those of the run, or what changed since."""
        self._check_method(spec, findings)
        for task in spec.tasks:
            _check_task(task, findings)
        _check_suite(spec, findings)
        _check_data(spec, ground, findings)
        self._check_weights(spec, findings)
        self._check_code(spec, findings)

    def _check_method(self, spec: RunSpec, findings: Findings) -> None:
        name = spec.method.name
        is_moved = bool(spec.method_file) and not Path(spec.method_file).is_file()
        file = "" if is_moved else spec.method_file
        shown = file or f"methods/{name}.toml"
        if not file and name not in own_cards("methods"):
            findings.skip(f"no card {shown} here to compare with")
            return
        try:
            found = self._method(file or name, spec.backbone, spec.suite, tuple(spec.settings))
        except VlbenchError as error:
            told = " ".join(str(error).split())
            findings.cell(shown, "", "", "a card", "none that resolves", told, is_since=True)
            return
        if found is None:
            findings.skip(refusal([p for p in parts_of(spec.method.technique) if ":" in p]))
            return
        card, before = found
        if is_moved and hashed(card) != hashed(spec.method):
            findings.skip("the method's card is of another machine")
            return
        _compare(shown, spec.method, card, findings)
        check_tuning(shown, spec.method.tuning, card.tuning, before, findings)

    def _resolve(
        self, name: str, backbone: str, suite: str, settings: tuple[str, ...]
    ) -> tuple[MethodCard, tuple[TuningFacts, ...]] | None:
        """The card as it is now, and what it says of its tuning that it said before.

        None where that takes code which is not to be imported.
        """
        card = load_method(name)
        named = [*parts_of(card.technique), *settings]
        if not self._is_trusting and any(":" in each for each in named):
            return None
        return resolve_method(card, backbone, suite, settings), card.tuning.before

    def _check_weights(self, spec: RunSpec, findings: Findings) -> None:
        if spec.backbone not in BACKBONES:
            findings.skip(f"no backbone '{spec.backbone}' here")
        else:
            try:
                found = self._weights.hash_of(spec)
                findings.cell(SPEC, "", "backbone_hash", spec.backbone_hash, found, SINCE, True)
            except MissingError:
                findings.skip("the backbone's weights are not here")
        if spec.init_hash and Path(spec.init).is_file():
            found = hash_of(Path(spec.init))
            findings.cell(SPEC, "", "init_hash", spec.init_hash, found, SINCE, True)
        elif spec.init_hash:
            findings.skip("the weights that the run started from are not here")

    def _check_code(self, spec: RunSpec, findings: Findings) -> None:
        """The files of code that is not vlbench's; it was imported above where that is allowed."""
        if not spec.code:
            return
        if not self._is_trusting:
            findings.skip(refusal(outside_names(spec)), len(spec.code))
            return
        now = outside_code(spec.method, spec.tasks)
        for name in sorted(spec.code):
            found = now.get(name, "not there")
            findings.cell(SPEC, "", f"code.{name}", spec.code[name], found, SINCE, True)


def _check_task(task: TaskCard, findings: Findings) -> None:
    shown = f"tasks/{task.name}.toml"
    if task.name not in own_cards("tasks"):
        findings.skip(f"no card {shown} here to compare with")
        return
    try:
        card = load_task(task.name)
    except VlbenchError as error:
        told = " ".join(str(error).split())
        findings.cell(shown, "", "", "a card", "none that can be read", told, is_since=True)
        return
    _compare(shown, task, card, findings)


def _compare(
    shown: str, then: MethodCard | TaskCard, now: MethodCard | TaskCard, findings: Findings
) -> None:
    """Every key that can change a result, as the run had it and as the card has it now; the rest
    is compared too, where it merely explains."""
    before, after = dict(leaves(hashed(then))), dict(leaves(hashed(now)))
    for key in sorted(before.keys() | after.keys()):
        findings.cell(shown, "", key, before.get(key), after.get(key), SINCE, is_since=True)
    check_prose(shown, then, now, findings)


def _check_suite(spec: RunSpec, findings: Findings) -> None:
    """A suite has a name of its own, or those of its tasks."""
    names = tuple(task.name for task in spec.tasks)
    suites = load_suites()
    if spec.suite in suites:
        findings.cell(
            "tasks/suites.toml", "", spec.suite, names, suites[spec.suite].tasks, SINCE, True
        )
    else:
        findings.cell(SPEC, "", "suite", spec.suite, "+".join(names))


def _check_data(spec: RunSpec, ground: Ground, findings: Findings) -> None:
    findings.cell(SPEC, "", "data", sorted(spec.data), sorted(task.name for task in spec.tasks))
    if ground.reason:
        findings.skip(ground.reason, len(spec.data))
    for name, found in ground.tasks.items():
        why = "the data here are not those of the run"
        findings.cell(SPEC, "", f"data.{name}", spec.data.get(name), found.fingerprint, why, True)
