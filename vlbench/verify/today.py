"""A run's files and spec in themselves, and against the cards, data, weights and code of today."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vlbench.backbones import Features
from vlbench.cards.load import hashed, load_method, load_suites, load_task, own_cards
from vlbench.cards.schema import MethodCard, TaskCard
from vlbench.config import leaves
from vlbench.data.example import Example
from vlbench.data.prepare import PreparedTask
from vlbench.errors import DataError, VlbenchError
from vlbench.metrics import Scored
from vlbench.runs.plan import adapted, outside_code, read_inputs, weights_hash_of
from vlbench.runs.result import count_cells, majority_scored
from vlbench.runs.spec import RunSpec
from vlbench.runs.sums import NAME, RESULT, WEIGHTS, hash_of, read_sums, result_files
from vlbench.techniques import parts_of, resolve_method
from vlbench.techniques.adapt import AdaptedModel, count, trained_parameters
from vlbench.tensors import not_finite
from vlbench.text import results_option
from vlbench.verify.inputs import Findings, Row, outside_names, refusal

SPEC = "spec.json"
SINCE = "changed since the run"
OTHER_DATA = "the data here are not those of the run"
NOT_KEPT = f"{WEIGHTS} is not kept here"
COUNTS = ("trainable_parameters", "total_parameters", "trainable_percent", "denominator")
Say = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class TaskReference:
    """The data of one task."""

    prepared: PreparedTask

    @cached_property
    def test(self) -> list[Example]:
        """The examples of the test split, in the order in which they are scored."""
        return list(self.prepared.test)

    @cached_property
    def majority(self) -> Scored | None:
        """Score of the most frequent training answer; None for captions."""
        return majority_scored(self.prepared.card, self.prepared.train, self.test)


@dataclass(frozen=True)
class Reference:
    """The data of a run's tasks; empty where they are not at hand, for a reason."""

    tasks: dict[str, TaskReference] = field(default_factory=dict)
    features: Features | None = None
    reason: str = ""

    def of(self, spec: RunSpec, card: TaskCard) -> TaskReference | None:
        """The task's data where they are those of the run."""
        task = self.tasks.get(card.name)
        return task if task and task.prepared.fingerprint == spec.data.get(card.name) else None


class Here:
    """Data, weights and models of runs as they are here now; each is read or built once."""

    def __init__(self, root: Path | None, say: Say, is_trusting: bool) -> None:
        self.is_trusting = is_trusting
        self._root, self._say = root, say
        self._kept: dict[str, Any] = {}

    def _once(self, key: str, make: Callable[[], T]) -> T:
        """What `make` gives, kept under `key`."""
        if key not in self._kept:
            self._kept[key] = make()
        kept: T = self._kept[key]
        return kept

    def data(self, spec: RunSpec) -> Reference:
        """The data of the spec's tasks, where the run had them or below `--root`."""
        outside = [name for name in (spec.encoder, *(t.reader for t in spec.tasks)) if ":" in name]
        if outside and not self.is_trusting:
            return Reference(reason=refusal(outside))

        def read() -> Reference:
            root = spec.root and str(self._root or spec.root)
            try:
                inputs = read_inputs(spec.model_copy(update={"root": root}), self._say, "cpu")
            except (VlbenchError, OSError) as error:
                why = " ".join(line.strip() for line in str(error).strip().splitlines()[:2])
                return Reference(reason=f"the data are not at hand: {why or type(error).__name__}")
            tasks = {task.card.name: TaskReference(task) for task in inputs.tasks}
            return Reference(tasks, inputs.features)

        names = {"tasks", "backbone", "encoder", "features", "edition", "root", "limit", "data"}
        return self._once(spec.model_dump_json(include=names), read)

    def weights_hash(self, spec: RunSpec) -> str:
        """sha256 over the backbone's files; MissingError where they are not here."""
        visual, path = spec.tasks[0].visual, spec.backbone_path
        folder = Path(path) if path else None
        key = f"weights {spec.backbone} {path} {visual}"
        return self._once(key, lambda: weights_hash_of(spec.backbone, folder, visual))

    def model(self, spec: RunSpec, features: Features | None) -> AdaptedModel | str:
        """The run's model on shapes alone, or why it cannot be built here."""
        if spec.encoder and features is None:
            return f"the width of the features of {spec.encoder} is not known here"
        outside = [part for part in parts_of(spec.method.technique) if ":" in part]
        if outside and not self.is_trusting:
            return refusal(outside)

        def build() -> AdaptedModel | str:
            try:
                return adapted(spec, features, meta=True)
            except VlbenchError as error:
                return f"the model cannot be built: {' '.join(str(error).split())}"

        shapes = spec.model_dump_json(include={"method", "tasks", "backbone", "backbone_path"})
        return self._once(f"{shapes} {features}", build)


def check_sums(run: Path, findings: Findings) -> None:
    """Compare every file that a run leaves with `SHA256SUMS`, both ways.

    Weights may be absent: results are kept without them.
    """
    files = result_files(run)
    findings.skip(NOT_KEPT, WEIGHTS not in files)
    try:
        sums = read_sums(run)
    except DataError as error:
        findings.unreadable(run / NAME, NAME, error)
        return
    seal = f"write it: vlbench results seal{results_option(run.parents[1])}"
    if sums is None:
        findings.fault(NAME, "", "", "no such file", f"the sums of {len(files)} files", seal)
        return
    for name in files:
        stored, why = sums.get(name, "not listed"), "" if name in sums else seal
        findings.cell(name, "", "sha256", stored, hash_of(run / name), why)
    for name in sorted(sums.keys() - {*files, WEIGHTS}):
        findings.fault(name, "", "sha256", sums[name], "no such file")


def check_spec(run: Path, findings: Findings) -> RunSpec | None:
    """Check the spec against its key and the folder's name; None where it cannot be read."""
    try:
        spec, key = RunSpec.parse(run / SPEC)
    except (DataError, RecursionError) as error:
        findings.unreadable(run / SPEC, SPEC, error)
        return None
    findings.cell(SPEC, "", "key", key, spec.key, "the spec is not the one that has this key")
    findings.cell(SPEC, "", "folder", run.name, spec.key, "the folder has another run's name")
    known = {f"predictions/{name}.parquet" for name in spec.task_names}
    for name in result_files(run):
        if name.startswith("predictions/") and name not in known:
            findings.fault(name, "", "", "a file", "not a task of the run")
    return spec


def check_today(here: Here, spec: RunSpec, data: Reference, findings: Findings) -> None:
    """Compare cards, suite, data, weights and code with those of the run."""
    check_method(spec, here.is_trusting, findings)
    for task in spec.tasks:
        card_file = f"tasks/{task.name}.toml"
        if task.name not in own_cards("tasks"):
            findings.skip(f"no card {card_file} here to compare with")
        elif card := _loaded(card_file, partial(load_task, task.name), findings):
            _compare(card_file, task, card, findings)
    names, suite = tuple(spec.task_names), load_suites().get(spec.suite)
    if suite:
        findings.cell("tasks/suites.toml", "", spec.suite, names, suite.tasks, SINCE, True)
    else:
        findings.cell(SPEC, "", "suite", spec.suite, "+".join(names))
    findings.cell(SPEC, "", "data", sorted(spec.data), sorted(names))
    findings.skip(data.reason, len(spec.data) if data.reason else 0)
    for name, task_data in data.tasks.items():
        now = task_data.prepared.fingerprint
        findings.cell(SPEC, "", f"data.{name}", spec.data.get(name), now, OTHER_DATA, True)
    try:
        now = here.weights_hash(spec)
        findings.cell(SPEC, "", "backbone_hash", spec.backbone_hash, now, SINCE, True)
    except VlbenchError:
        findings.skip("the backbone's weights are not here")
    if spec.init_hash and Path(spec.init).is_file():
        now = hash_of(Path(spec.init))
        findings.cell(SPEC, "", "init_hash", spec.init_hash, now, SINCE, True)
    elif spec.init_hash:
        findings.skip("the weights that the run started from are not here")
    if spec.code and not here.is_trusting:
        findings.skip(refusal(outside_names(spec)), len(spec.code))
    elif spec.code:
        hashes = outside_code(spec.method, spec.tasks)  # imported with the cards above
        for name, stored in sorted(spec.code.items()):
            now = hashes.get(name, "absent")
            findings.cell(SPEC, "", f"code.{name}", stored, now, SINCE, True)


def check_method(spec: RunSpec, is_trusting: bool, findings: Findings) -> None:
    """Compare the method with its card as it resolves today, and how its values were searched."""
    file, name = spec.method_file, spec.method.name
    card_file = file or f"methods/{name}.toml"
    if not (Path(file).is_file() if file else name in own_cards("methods")):
        findings.skip(f"no card {card_file} here to compare with")
        return
    card = _loaded(card_file, lambda: load_method(file or name), findings)
    if card is None:
        return
    outside = [n for n in (*parts_of(card.technique), *spec.settings) if ":" in n]
    if outside and not is_trusting:
        findings.skip(refusal(outside))
        return
    resolve = partial(resolve_method, card, spec.backbone, spec.suite, spec.settings)
    if resolved := _loaded(card_file, resolve, findings):
        _compare(card_file, spec.method, resolved, findings)
    search, today, *before = (
        (tuning.searched, tuning.trials, tuning.selected_on)
        for tuning in (spec.method.tuning, card.tuning, *card.tuning.before)
    )
    if search not in before:
        why = f"{card_file} says otherwise, in [[tuning.before]] too"
        findings.cell(SPEC, "", "method.tuning", search, today, why, True)


def _loaded(card_file: str, load: Callable[[], T], findings: Findings) -> T | None:
    """What a card is today; None, with a finding, where it cannot be loaded."""
    try:
        return load()
    except VlbenchError as error:
        why = " ".join(str(error).split())
        findings.cell(card_file, "", "", "a card", "none that resolves", why, True)
        return None


def _compare(
    card_file: str, then: MethodCard | TaskCard, now: MethodCard | TaskCard, findings: Findings
) -> None:
    """Compare every key that can change a result."""
    before, after = dict(leaves(hashed(then))), dict(leaves(hashed(now)))
    for key in sorted(before.keys() | after.keys()):
        findings.cell(card_file, "", key, before.get(key), after.get(key), SINCE, True)


def check_size(
    run: Path, rows: Sequence[Row], model: AdaptedModel | str, findings: Findings
) -> None:
    """Compare the counts of parameters with the model's, and the bytes with the file's."""
    counts = {} if isinstance(model, str) else count_cells(count(model))
    file = run / WEIGHTS
    if file.is_file():
        counts["adapter_bytes"] = file.stat().st_size
    else:
        findings.skip(f"adapter_bytes: {NOT_KEPT}", len(rows))
    if isinstance(model, str):
        findings.skip(model, len(rows) * len(COUNTS))
    for row in rows:
        for column, value in counts.items():
            findings.cell(RESULT, label(row), column, row[column], value)


def check_adapter(run: Path, model: AdaptedModel | str, findings: Findings) -> None:
    """Check that saved tensors, where they are kept, are finite and those of its card."""
    file = run / WEIGHTS
    if not file.is_file():
        return
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        findings.unreadable(file, WEIGHTS, error)
        return
    for name in not_finite(tensors):
        findings.fault(WEIGHTS, name, "", "NaN or infinity", "numbers")
    if isinstance(model, str):
        return
    stored, built = _shapes(tensors), _shapes(trained_parameters(model))
    for name in sorted(stored.keys() | built.keys()):
        findings.cell(WEIGHTS, name, "shape", stored.get(name), built.get(name))


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (str(tensor.dtype), tuple(tensor.shape)) for name, tensor in tensors.items()}


def label(row: Row) -> str:
    """Name of a row: `gqa.accuracy`, `gqa.accuracy [query color]`."""
    name = f"{row['metric']} [{row['family']}]" if row["family"] else str(row["metric"])
    return name if row["split"] == "test" else f"{name} ({row['split']})"
