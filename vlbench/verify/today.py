"""A run's files and spec in themselves, and against the cards, data, weights and code of today."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from vlbench.backbones import BACKBONES, Features, build_backbone
from vlbench.cards.load import PROSE, hashed, load_method, load_suites, load_task, own_cards
from vlbench.cards.schema import MethodCard, TaskCard, Tuning, TuningFacts
from vlbench.config import leaves
from vlbench.errors import DataError, MissingError, VlbenchError
from vlbench.runs.plan import outside_code
from vlbench.runs.result import count_cells
from vlbench.runs.spec import RunSpec
from vlbench.runs.sums import (
    NAME,
    RESULT,
    WEIGHTS,
    hash_of,
    read_sums,
    sealed_files,
    strange_files,
)
from vlbench.techniques import parts_of, resolve_method
from vlbench.techniques.adapt import Counts, adapt, count, trained_parameters
from vlbench.tensors import not_finite
from vlbench.text import results_option
from vlbench.verify.findings import Findings
from vlbench.verify.inputs import (
    BackboneWeights,
    Reference,
    Row,
    outside_names,
    parse_json,
    refusal,
)
from vlbench.verify.results import label

SPEC = "spec.json"
SINCE = "changed since the run"
NO_SUMS = "a run that is done has them: somebody took them away, or its vlbench wrote none; "
NOT_LISTED = "a run that is done lists all its files: the line was taken away, or it came later; "
OTHERWISE = (
    "says otherwise: it or spec.json was changed since the run (a card that was corrected keeps "
    "what it said in [[tuning.before]])"
)
TYPES = {"torch.float32": "F32", "torch.bfloat16": "BF16", "torch.float16": "F16"}
"""torch's name of a type -> safetensors' name."""
HEADER_BYTES = 1 << 20
"""Most bytes of a file of trained tensors beside the tensors."""


def check_sums(run: Path, findings: Findings) -> None:
    """Compare every file that a run leaves with `SHA256SUMS`, both ways.

    Weights may be absent: results are kept without them.
    """
    files = sealed_files(run)
    seal = f"vlbench results seal{results_option(run.parents[1])}"
    findings.skip(f"{WEIGHTS} is not kept here", WEIGHTS not in files)
    try:
        sums = read_sums(run)
    except DataError as error:
        findings.fault(NAME, "", "", "", "", str(error))
        return
    if sums is None:
        why = f"{NO_SUMS}{seal} writes what the files are now"
        findings.fault(NAME, "", "", "no such file", f"the sums of {len(files)} files", why)
        return
    for name in files:
        why = "" if name in sums else f"{NOT_LISTED}{seal} adds what the file is now"
        stored = sums.get(name, f"not in {NAME}")
        findings.cell(name, "", "sha256", stored, hash_of(run / name), why)
    for name in sorted(sums.keys() - {*files, WEIGHTS}):
        findings.fault(name, "", "sha256", sums[name], "no such file")


def check_names(run: Path, spec: RunSpec, findings: Findings) -> None:
    """Name files that no run writes, and predictions of a task that the run has not."""
    for name in strange_files(run):
        why = "no run writes it: move it out of the run's folder"
        findings.fault(name, "", "", "a file", "none", why)
    known = {f"predictions/{task.name}.parquet" for task in spec.tasks}
    for name in sealed_files(run):
        if name.startswith("predictions/") and name not in known:
            findings.fault(name, "", "", "a file", "not a task of the run")


def check_spec(run: Path, findings: Findings) -> RunSpec | None:
    """Check the spec against its key and the folder's name; None where it cannot be read.

    What stands in the file must be what is read from it: no `"1"` for 1, which others read as text.
    """
    try:
        spec, key = RunSpec.parse(run / SPEC)
    except (DataError, RecursionError) as error:
        text = str(error).removeprefix(f"{run / SPEC}: ")
        findings.fault(SPEC, "", "", "", "", " ".join(text.split())[:500])
        return None
    findings.cell(SPEC, "", "key", key, spec.key, "the spec is not the one that has this key")
    findings.cell(SPEC, "", "folder", run.name, spec.key, "the folder has another run's name")
    stored = {**json.loads((run / SPEC).read_text(encoding="utf-8")), "key": spec.key}
    for name, one, other in _differences(stored, json.loads(spec.to_json())):
        findings.fault(SPEC, "", name, one, other, "not as a run's spec is written")
    if spec.method_file:
        name = Path(spec.method_file).stem
        why = "a card has its file's name"
        findings.cell(SPEC, "", "method_file", name, spec.method.name, why)
    if not spec.init_hash:
        findings.cell(SPEC, "", "init", spec.init, "", "init_hash says that there are no weights")
    return spec


def _differences(stored: object, written: object, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where a JSON value is not as it is written: dotted name, and both.

    A file of an older vlbench may lack what came to specs since.
    """
    if isinstance(stored, dict) and isinstance(written, dict):
        for key in stored:
            yield from _differences(stored[key], written.get(key), f"{name}.{key}".lstrip("."))
    elif isinstance(stored, list) and isinstance(written, list) and len(stored) == len(written):
        for number, (one, other) in enumerate(zip(stored, written, strict=True)):
            yield from _differences(one, other, f"{name}.{number}")
    elif type(stored) is not type(written) or stored != written:
        yield name, stored, written


class Today:
    """Compares specs with what is here now; each thing is looked at once."""

    def __init__(self, weights: BackboneWeights, is_trusting: bool) -> None:
        self._is_trusting = is_trusting
        self._weights = weights
        self._method = cache(self._resolve)

    def check(self, spec: RunSpec, data: Reference, findings: Findings) -> None:
        """Compare cards, suite, data, weights and code with those of the run."""
        self._check_method(spec, findings)
        for task in spec.tasks:
            _check_task(task, findings)
        names = tuple(task.name for task in spec.tasks)
        suite = load_suites().get(spec.suite)
        if suite:
            file = "tasks/suites.toml"
            findings.cell(file, "", spec.suite, names, suite.tasks, SINCE, is_since=True)
        else:
            findings.cell(SPEC, "", "suite", spec.suite, "+".join(names))
        findings.cell(SPEC, "", "data", sorted(spec.data), sorted(names))
        if data.reason:
            findings.skip(data.reason, len(spec.data))
        for name, task_data in data.tasks.items():
            why = "the data here are not those of the run"
            stored = spec.data.get(name)
            findings.cell(SPEC, "", f"data.{name}", stored, task_data.fingerprint, why, True)
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
            resolved = self._method(file or name, spec.backbone, spec.suite, tuple(spec.settings))
        except VlbenchError as error:
            why = " ".join(str(error).split())
            findings.cell(shown, "", "", "a card", "none that resolves", why, is_since=True)
            return
        if resolved is None:
            findings.skip(refusal([p for p in parts_of(spec.method.technique) if ":" in p]))
            return
        card, before = resolved
        if is_moved and hashed(card) != hashed(spec.method):
            findings.skip("the method's card is of another machine")
            return
        _compare(shown, spec.method, card, findings)
        check_tuning(shown, spec.method.tuning, card.tuning, before, findings)

    def _resolve(
        self, name: str, backbone: str, suite: str, settings: tuple[str, ...]
    ) -> tuple[MethodCard, tuple[TuningFacts, ...]] | None:
        """The card of today, and what it says of its tuning that it said before.

        None where that takes code which is not to be imported.
        """
        card = load_method(name)
        if not self._is_trusting and any(":" in n for n in (*parts_of(card.technique), *settings)):
            return None
        return resolve_method(card, backbone, suite, settings), card.tuning.before

    def _check_weights(self, spec: RunSpec, findings: Findings) -> None:
        if spec.backbone not in BACKBONES:
            findings.skip(f"no backbone '{spec.backbone}' here")
        else:
            try:
                now = self._weights.hash_of(spec)
                findings.cell(SPEC, "", "backbone_hash", spec.backbone_hash, now, SINCE, True)
            except MissingError:
                findings.skip("the backbone's weights are not here")
        if spec.init_hash and Path(spec.init).is_file():
            now = hash_of(Path(spec.init))
            findings.cell(SPEC, "", "init_hash", spec.init_hash, now, SINCE, True)
        elif spec.init_hash:
            findings.skip("the weights that the run started from are not here")

    def _check_code(self, spec: RunSpec, findings: Findings) -> None:
        """Compare files of outside code; it was imported above where that is allowed."""
        if spec.code and not self._is_trusting:
            findings.skip(refusal(outside_names(spec)), len(spec.code))
        elif spec.code:
            now = outside_code(spec.method, spec.tasks)
            for name, stored in sorted(spec.code.items()):
                today = now.get(name, "not there")
                findings.cell(SPEC, "", f"code.{name}", stored, today, SINCE, True)


def _check_task(task: TaskCard, findings: Findings) -> None:
    shown = f"tasks/{task.name}.toml"
    if task.name not in own_cards("tasks"):
        findings.skip(f"no card {shown} here to compare with")
        return
    try:
        card = load_task(task.name)
    except VlbenchError as error:
        why = " ".join(str(error).split())
        findings.cell(shown, "", "", "a card", "none that can be read", why, is_since=True)
        return
    _compare(shown, task, card, findings)


def _compare(
    shown: str, then: MethodCard | TaskCard, now: MethodCard | TaskCard, findings: Findings
) -> None:
    """Compare every key that can change a result, and the text that merely explains."""
    before, after = dict(leaves(hashed(then))), dict(leaves(hashed(now)))
    for key in sorted(before.keys() | after.keys()):
        findings.cell(shown, "", key, before.get(key), after.get(key), SINCE, is_since=True)
    check_prose(shown, then, now, findings)


def check_prose(
    shown: str, then: MethodCard | TaskCard, now: MethodCard | TaskCard, findings: Findings
) -> None:
    """Count titles, sources and notes that differ: cards are reworded, so that is no fault."""
    keys = (PROSE - {"tuning"}) & then.model_fields_set  # not what came to cards after the run
    before, after = (card.model_dump(mode="json", include=keys) for card in (then, now))
    for key in sorted(before):
        if before[key] == after[key]:
            findings.checked += 1
        else:
            findings.skip(f"{key}: {shown} is worded otherwise today, and no number hangs on it")


def check_tuning(
    shown: str, then: Tuning, now: Tuning, before: Sequence[TuningFacts], findings: Findings
) -> None:
    """Compare how values were searched with the card today, or with what it said before."""
    stored, wanted = then.model_dump(mode="json"), now.model_dump(mode="json")
    if any(stored == {**wanted, **facts.model_dump(mode="json")} for facts in before):
        findings.skip(f"tuning: {shown} was corrected since the run (its [[tuning.before]])")
        return
    for key in wanted:
        column, why = f"method.tuning.{key}", f"{shown} {OTHERWISE}"
        findings.cell(SPEC, "", column, stored[key], wanted[key], why, is_since=True)


class Size(NamedTuple):
    """What a model's shapes tell."""

    counts: Counts
    trained: dict[str, tuple[str, tuple[int, ...]]]
    """Tensor -> safetensors' name of its type, and its shape."""
    bytes: int
    """Of the trained tensors."""


class Sizes:
    """Builds each model once, whatever its seed, on shapes alone."""

    def __init__(self, weights: BackboneWeights, is_trusting: bool) -> None:
        self._weights = weights
        self._is_trusting = is_trusting
        self._built: dict[str, Size | str] = {}

    def of(self, spec: RunSpec, data: Reference) -> Size | str:
        """The size of the spec's model, or why it cannot be known here."""
        features = data.features
        if spec.encoder and features is None:
            return f"the width of the features of {spec.encoder} is not known here"
        outside = [part for part in parts_of(spec.method.technique) if ":" in part]
        if outside and not self._is_trusting:
            return refusal(outside)
        if spec.backbone not in BACKBONES:
            return f"no backbone '{spec.backbone}' here"
        names = [task.name for task in spec.tasks]
        try:
            folder = self._weights.folder(spec)
        except MissingError:
            return "the backbone's folder is not here"
        key = json.dumps([hashed(spec.method), spec.backbone, str(folder), names, features])
        if key not in self._built:
            self._built[key] = _build(spec, folder, names, features)
        return self._built[key]


def _build(
    spec: RunSpec, path: Path | None, names: Sequence[str], features: Features | None
) -> Size | str:
    visual = spec.tasks[0].visual
    try:
        backbone = build_backbone(spec.backbone, path, meta=True, visual=visual, features=features)
        model = adapt(backbone, spec.method, names)
    except VlbenchError as error:
        return f"the model cannot be built: {' '.join(str(error).split())}"
    parameters = trained_parameters(model)
    trained = {
        name: (TYPES.get(str(tensor.dtype), str(tensor.dtype)), tuple(tensor.shape))
        for name, tensor in parameters.items()
    }
    return Size(count(model), trained, sum(tensor.nbytes for tensor in parameters.values()))


def check_size(run: Path, rows: Sequence[Row], size: Size | str, findings: Findings) -> None:
    """Compare counts and percentages of parameters, and the bytes of the trained tensors."""
    if isinstance(size, str):
        findings.skip(size, len(rows) * 5)  # four columns of counts, and adapter_bytes
        return
    expected = count_cells(size.counts)
    file = run / WEIGHTS
    kept = file.stat().st_size if file.is_file() else None
    for row in rows:
        for column, value in expected.items():
            findings.cell(RESULT, label(row), column, row[column], value)
        stored = row["adapter_bytes"]
        is_near = size.bytes < stored < size.bytes + HEADER_BYTES
        wanted = kept if kept is not None else stored if is_near else size.bytes
        why = "the tensors and the header of their file"
        findings.cell(RESULT, label(row), "adapter_bytes", stored, wanted, why)


def check_weights(run: Path, spec: RunSpec, size: Size | str, findings: Findings) -> None:
    """Check that saved tensors, where they are kept, are finite, of the run and of its card."""
    file = run / WEIGHTS
    if not file.is_file():
        return
    try:
        for name in not_finite(load_file(file)):
            findings.fault(WEIGHTS, name, "", "NaN or infinity", "numbers")
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
            names = opened.keys()
            slices = {name: opened.get_slice(name) for name in names}
            tensors = {
                name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()
            }
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        findings.fault(WEIGHTS, "", "", "", "", f"cannot be read: {error}")
        return
    if isinstance(size, str):
        return
    try:
        stored = dict(leaves(parse_json(metadata["vlbench"])))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        findings.fault(WEIGHTS, "", "", "", "", f"says of no run that it is of it: {error!r}")
        return
    table: dict[str, Any] = json.loads((run / SPEC).read_text(encoding="utf-8"))
    spelt = dict(leaves({name: table[name] for name in ("method", "backbone", "suite", "key")}))
    # a run that an older vlbench began and this one ended has what came to cards since
    full = dict(leaves({"method": spec.method.model_dump(mode="json")}))
    for key in sorted(stored.keys() | spelt.keys()):
        wanted = spelt.get(key, full.get(key))
        findings.cell(WEIGHTS, "", key, stored.get(key), wanted, "as spec.json says")
    for name in sorted(tensors.keys() | size.trained.keys()):
        findings.cell(WEIGHTS, name, "shape", tensors.get(name), size.trained.get(name))
