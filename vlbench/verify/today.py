"""A run's files and spec in themselves, and against the data and the model as they are today."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.resources import as_file
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vlbench.cards.backbone import Features
from vlbench.data.example import Example
from vlbench.data.prepare import PreparedTask
from vlbench.errors import DataError, VlbenchError
from vlbench.metrics import Scored
from vlbench.parquet import LATER
from vlbench.runs.packed import PackedPath
from vlbench.runs.plan import adapted, read_inputs
from vlbench.runs.result import count_cells, majority_scored
from vlbench.runs.spec import RunSpec
from vlbench.runs.sums import NAME, RESULT, SPEC, WEIGHTS, hash_of, read_sums, result_files
from vlbench.techniques import parts_of
from vlbench.techniques.adapt import AdaptedModel, count, trained_parameters
from vlbench.tensors import not_finite
from vlbench.verify.inputs import Findings, Row, refusal

OTHER_DATA = "the data here are not those of the run"
OTHER_WRITER = "packed by another pyarrow: only the pack's own SHA256SUMS speaks for the bytes"
NOT_KEPT = f"{WEIGHTS} is not kept here"
COUNTS = (
    *("trainable_parameters", "total_parameters", "trainable_percent", "denominator"),
    *("model_parameters", "projector"),
)
Say = Callable[[str], None]
Known = tuple[list[Example], Scored | None]
"""A split that is scored, and the score of the most frequent training answer; None for captions."""
T = TypeVar("T")


class Data(NamedTuple):
    """The data of a run's tasks as far as they are here and those of the run, else the reason."""

    tasks: dict[str, PreparedTask]
    features: Features | None
    reason: str


class Here:
    """Data and models of runs as they are here now; each is read or built once."""

    def __init__(self, root: Path | None, say: Say, is_trusting: bool) -> None:
        self.is_trusting = is_trusting
        self._root, self._say = root, say
        self._kept: dict[str, Any] = {}

    def _once(self, key: str, make: Callable[[], T]) -> T:
        if key not in self._kept:
            self._kept[key] = make()
        kept: T = self._kept[key]
        return kept

    def data(self, spec: RunSpec) -> Data:
        """The data of the spec's tasks, where the run had them or below `--root`."""
        outside = [name for name in (spec.encoder, *(t.reader for t in spec.tasks)) if ":" in name]
        if outside and not self.is_trusting:
            return Data({}, None, refusal(outside))

        def read() -> Data:
            root = spec.root and str(self._root or spec.root)
            try:
                inputs = read_inputs(spec.model_copy(update={"root": root}), self._say, "cpu")
            except (VlbenchError, OSError) as error:
                why = " ".join(line.strip() for line in str(error).strip().splitlines()[:2])
                return Data({}, None, f"the data are not at hand: {why or type(error).__name__}")
            tasks = {task.card.name: task for task in inputs.tasks}
            same = {n: task for n, task in tasks.items() if task.fingerprint == spec.data.get(n)}
            return Data(same, inputs.features, OTHER_DATA)

        names = {"tasks", "backbone", "backbone_file", "encoder", "features", "edition", "root"}
        names |= {"limit", "data"}
        return self._once(spec.model_dump_json(include=names), read)

    def examples(self, task: PreparedTask, split: Literal["val", "test"]) -> Known:
        """What the task's values are recomputed from."""

        def read() -> Known:
            examples = list(task.of(split))
            return examples, majority_scored(task.card, task.train, examples)

        key = f"examples {task.card.model_dump_json()} {task.fingerprint} {split}"
        return self._once(key, read)

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

        names = {"method", "tasks", "backbone", "backbone_file", "backbone_path"}
        shapes = spec.model_dump_json(include=names)
        return self._once(f"{shapes} {features}", build)


def check_sums(run: Traversable, findings: Findings) -> None:
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
    if sums is None:
        findings.fault(NAME, "", "", "no such file", f"the sums of {len(files)} files")
        return
    for name in files:
        stored, own = sums.get(name, "not listed"), hash_of(run / name)
        if stored != own and name.endswith(".parquet") and is_by_other_writer(run):
            findings.skip(OTHER_WRITER)
        else:
            findings.cell(name, "", "sha256", stored, own)
    for name in sorted(sums.keys() - {*files, WEIGHTS}):
        findings.fault(name, "", "sha256", sums[name], "no such file")


def is_by_other_writer(run: Traversable) -> bool:
    """Whether a packed run's Parquet files cannot be written here with the bytes that they had."""
    return isinstance(run, PackedPath) and not run.pack.is_repeatable


def check_spec(run: Traversable, findings: Findings) -> RunSpec | None:
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


def check_size(
    run: Traversable, rows: Sequence[Row], model: AdaptedModel | str, findings: Findings
) -> None:
    """Compare the counts of parameters with the model's, and the bytes with the file's."""
    counts = {} if isinstance(model, str) else count_cells(count(model))
    file = run / WEIGHTS
    if isinstance(file, Path) and file.is_file():
        counts["adapter_bytes"] = file.stat().st_size
    else:
        findings.skip(f"adapter_bytes: {NOT_KEPT}", len(rows))
    if isinstance(model, str):
        findings.skip(model, len(rows) * len(COUNTS))
    for row in rows:
        for column, value in counts.items():
            if row[column] is None and column in LATER:
                findings.skip(f"{column}: the run is older than the column")
            else:
                findings.cell(RESULT, label(row), column, row[column], value)


def check_adapter(run: Traversable, model: AdaptedModel | str, findings: Findings) -> None:
    """Check that saved tensors, where they are kept, are finite and those of its card."""
    file = run / WEIGHTS
    if not file.is_file():
        return
    try:
        with as_file(file) as path:
            tensors = load_file(path)
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
