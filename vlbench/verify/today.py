"""A run's files and spec in themselves, and against the cards, data, weights and code of today."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from vlbench.cards.load import PROSE, hashed, load_method, load_suites, load_task, own_cards
from vlbench.cards.schema import MethodCard, TaskCard
from vlbench.errors import DataError, VlbenchError
from vlbench.files import parse_object
from vlbench.runs.plan import outside_code
from vlbench.runs.result import adapter_metadata, count_cells
from vlbench.runs.spec import RunSpec
from vlbench.runs.sums import NAME, RESULT, WEIGHTS, hash_of, read_sums, result_files
from vlbench.techniques import parts_of, resolve_method
from vlbench.techniques.adapt import AdaptedModel, count, trained_parameters
from vlbench.tensors import not_finite
from vlbench.text import results_option
from vlbench.toml import leaves
from vlbench.verify.inputs import Findings, Here, Reference, Row, T, outside_names, refusal

SPEC = "spec.json"
SINCE = "changed since the run"
OTHER_DATA = "the data here are not those of the run"
NOT_KEPT = f"{WEIGHTS} is not kept here"
COUNTS = ("trainable_parameters", "total_parameters", "trainable_percent", "denominator")


def check_sums(run: Path, findings: Findings) -> None:
    """Compare every file that a run leaves with `SHA256SUMS`, both ways.

    Weights may be absent: results are kept without them.
    """
    files = result_files(run)
    seal = f"vlbench results seal{results_option(run.parents[1])} writes what is"
    findings.skip(NOT_KEPT, WEIGHTS not in files)
    try:
        sums = read_sums(run)
    except DataError as error:
        findings.fault(NAME, reason=str(error))
        return
    if sums is None:
        expected = f"the sums of {len(files)} files"
        findings.fault(NAME, "", "", "no such file", expected, f"a run that is done has it; {seal}")
        return
    for name in files:
        why = "" if name in sums else f"a run that is done lists all its files; {seal}"
        findings.cell(name, "", "sha256", sums.get(name, "not listed"), hash_of(run / name), why)
    for name in sorted(sums.keys() - {*files, WEIGHTS}):
        findings.fault(name, "", "sha256", sums[name], "no such file")


def check_spec(run: Path, findings: Findings) -> RunSpec | None:
    """Check the spec against its key and the folder's name; None where it cannot be read."""
    try:
        spec, key = RunSpec.parse(run / SPEC)
    except (DataError, RecursionError) as error:
        text = str(error).removeprefix(f"{run / SPEC}: ")
        findings.fault(SPEC, reason=" ".join(text.split())[:500])
        return None
    findings.cell(SPEC, "", "key", key, spec.key, "the spec is not the one that has this key")
    findings.cell(SPEC, "", "folder", run.name, spec.key, "the folder has another run's name")
    if spec.method_file:
        name = Path(spec.method_file).stem
        findings.cell(SPEC, "", "method_file", name, spec.method.name, "a card has its file's name")
    if not spec.init_hash:
        findings.cell(SPEC, "", "init", spec.init, "", "init_hash says that there are no weights")
    known = {f"predictions/{name}.parquet" for name in spec.task_names}
    for name in result_files(run):
        if name.startswith("predictions/") and name not in known:
            findings.fault(name, "", "", "a file", "not a task of the run")
    return spec


def check_today(here: Here, spec: RunSpec, data: Reference, findings: Findings) -> None:
    """Compare cards, suite, data, weights and code with those of the run."""
    _check_method(here, spec, findings)
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
    _check_weights(here, spec, findings)
    if spec.code and not here.is_trusting:
        findings.skip(refusal(outside_names(spec)), len(spec.code))
    elif spec.code:
        hashes = outside_code(spec.method, spec.tasks)  # imported with the cards above
        for name, stored in sorted(spec.code.items()):
            now = hashes.get(name, "absent")
            findings.cell(SPEC, "", f"code.{name}", stored, now, SINCE, True)


def _check_method(here: Here, spec: RunSpec, findings: Findings) -> None:
    """Compare the method with its card as it resolves today, and how its values were searched."""
    file, name = spec.method_file, spec.method.name
    card_file = file or f"methods/{name}.toml"
    if not (Path(file).is_file() if file else name in own_cards("methods")):
        findings.skip(f"no card {card_file} here to compare with")
        return

    def resolve() -> tuple[MethodCard, MethodCard] | str:
        card = load_method(file or name)
        outside = [n for n in (*parts_of(card.technique), *spec.settings) if ":" in n]
        if outside and not here.is_trusting:
            return refusal(outside)
        return card, resolve_method(card, spec.backbone, spec.suite, spec.settings)

    key = f"card {card_file} {spec.backbone} {spec.suite} {spec.settings}"
    cards = _loaded(card_file, lambda: here.once(key, resolve), findings)
    if cards is None or isinstance(cards, str):
        findings.skip(cards or "", bool(cards))
        return
    _compare(card_file, spec.method, cards[1], findings)
    search, today, *before = (
        (tuning.searched, tuning.trials, tuning.selected_on)
        for tuning in (spec.method.tuning, cards[0].tuning, *cards[0].tuning.before)
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
    """Compare every key that can change a result; count text that merely explains."""
    before, after = dict(leaves(hashed(then))), dict(leaves(hashed(now)))
    for key in sorted(before.keys() | after.keys()):
        findings.cell(card_file, "", key, before.get(key), after.get(key), SINCE, True)
    for key in sorted(PROSE & then.model_fields_set):
        if getattr(then, key) == getattr(now, key):
            findings.checked += 1
        else:
            findings.skip(
                f"{key}: {card_file} is worded otherwise today, and no number hangs on it"
            )


def _check_weights(here: Here, spec: RunSpec, findings: Findings) -> None:
    """Compare the files of the backbone, and those to start from."""
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


def check_size(
    run: Path, rows: Sequence[Row], model: AdaptedModel | str, findings: Findings
) -> None:
    """Compare the counts of parameters with the model's, and the bytes with the file's."""
    counts = {} if isinstance(model, str) else count_cells(count(model))
    file = run / WEIGHTS
    if file.is_file():
        counts["adapter_bytes"] = file.stat().st_size
    for row in rows:
        for column, value in counts.items():
            findings.cell(RESULT, label(row), column, row[column], value)
    if isinstance(model, str):
        findings.skip(model, len(rows) * len(COUNTS))
    if not file.is_file():
        findings.skip(f"adapter_bytes: {NOT_KEPT}", len(rows))


def check_adapter(run: Path, spec: RunSpec, model: AdaptedModel | str, findings: Findings) -> None:
    """Check that saved tensors, where they are kept, are finite, of the run and of its card."""
    file = run / WEIGHTS
    if not file.is_file():
        return
    try:
        tensors = load_file(file)
        with safe_open(file, "pt") as opened:
            metadata = parse_object((opened.metadata() or {})["vlbench"])
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        findings.fault(WEIGHTS, reason=f"cannot be read: {error!r}")
        return
    for name in not_finite(tensors):
        findings.fault(WEIGHTS, name, "", "NaN or infinity", "numbers")
    expected = dict(leaves(adapter_metadata(spec)))
    for key, value in leaves({"key": "", **metadata}):
        findings.cell(WEIGHTS, "", key, value, expected.get(key), "as spec.json says")
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
