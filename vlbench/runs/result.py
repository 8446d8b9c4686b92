"""The result of a run: scores, predictions, trained tensors, the code and device behind them."""

from __future__ import annotations

import io
import json
import math
import platform
import resource
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save

from vlbench import __version__
from vlbench.cards.schema import TaskCard
from vlbench.data.example import Example
from vlbench.errors import UsageError
from vlbench.files import write_atomically
from vlbench.metrics import Scored, load_metric, percent
from vlbench.parquet import result_schema
from vlbench.runs.spec import RunSpec
from vlbench.runs.sums import write_sums
from vlbench.techniques.adapt import AdaptedModel, Counts, count, trained_state
from vlbench.text import now

NO_MAJORITY = ("captions", "value-captions")
"""Metrics of free text, which has no most frequent answer."""
REFERENCE_KEYS = ("answers", "answer", "label", "captions")
"""Keys of official records for the reference answers."""
EXTRAS = ("peft",)
"""Libraries that compute in some runs only."""


@dataclass(frozen=True, slots=True)
class Value:
    """One row of a result: a metric over all examples, or over one family of questions."""

    metric: str
    family: str
    value: float
    majority: float | None
    n: int


def score(
    card: TaskCard,
    examples: Sequence[Example],
    answers: Mapping[str, str],
    validation: bool = False,
) -> Scored:
    """The official metric; `validation` leaves out what takes longest.

    UsageError where it gives NaN or infinity, as a metric of the user's own may.
    """
    annotations = {example.id: example.annotation for example in examples}
    scored = load_metric(card.metric, validation)(annotations, answers)
    for name, value in (*scored.metrics.items(), *scored.per_example.items()):
        if value is not None and not math.isfinite(value):
            raise UsageError(f"{card.shown}: metric: '{card.metric}' gives {value} for {name}.")
    return scored


def values(
    card: TaskCard, examples: Sequence[Example], scored: Scored, majority: Scored | None
) -> list[Value]:
    """Every metric over all examples, then the main one per family where it is a plain mean."""
    main, n = card.main_metric, len(examples)
    baseline = {main: majority.metrics[main]} if majority else {}
    rows = [Value(key, "", value, baseline.get(key), n) for key, value in scored.metrics.items()]
    if majority is None:
        return rows
    families: dict[str, list[str]] = defaultdict(list)
    for example in examples:
        if example.family:
            families[example.family].append(example.id)
    for family, ids in sorted(families.items()):
        value, floor = (percent(s.per_example[id_] for id_ in ids) for s in (scored, majority))
        rows.append(Value(main, family, value, floor, len(ids)))
    return rows


def majority_scored(
    card: TaskCard, train: Sequence[Example], examples: Sequence[Example]
) -> Scored | None:
    """Score of always giving a family's most frequent training answer; None for captions."""
    if card.metric in NO_MAJORITY:
        return None
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for example in train:
        for answer, weight in example.targets.items():
            counts[example.family][answer] += weight  # type: ignore[assignment]
            counts[""][answer] += weight  # type: ignore[assignment]
    best = {family: max(sorted(words), key=words.__getitem__) for family, words in counts.items()}
    overall = best.get("", "")
    answers = {example.id: best.get(example.family, overall) for example in examples}
    return score(card, examples, answers)


def write_predictions(
    file: Path, examples: Sequence[Example], answers: Mapping[str, str], scored: Scored
) -> None:
    """One row per example: id, family, text, prediction, references (JSON), score."""
    table = pa.table(
        {
            "id": [e.id for e in examples],
            "family": [e.family for e in examples],
            "images": [list(e.images) for e in examples],
            "text": [e.text for e in examples],
            "prediction": [answers[e.id] for e in examples],
            "references": [references(e) for e in examples],
            "score": [float(scored.per_example[e.id]) for e in examples],
        }
    )
    write_atomically(file, _parquet(table))


def references(example: Example) -> str:
    """The reference answers of an example, as JSON."""
    record = example.annotation
    answers = next((record[key] for key in REFERENCE_KEYS if key in record), None)
    return json.dumps(answers, ensure_ascii=False)


def _parquet(table: pa.Table) -> bytes:
    """The contents of a Parquet file with the table."""
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd", compression_level=15)
    return content.getvalue()


def write_adapter(file: Path, model: AdaptedModel, spec: RunSpec) -> int:
    """Write the trained tensors only, with the card they belong to; return the bytes."""
    belongs_to = {
        "method": spec.method.model_dump(mode="json"),
        "backbone": spec.backbone,
        "suite": spec.suite,
        "key": spec.key,
    }
    metadata = {"vlbench": json.dumps(belongs_to, sort_keys=True)}  # more keys have no fixed order
    tensors = {name: tensor.cpu() for name, tensor in trained_state(model).items()}
    write_atomically(file, save(tensors, metadata))
    return file.stat().st_size


class Rows:
    """The rows of a run's `result.parquet`; `shared` stands in all of them."""

    def __init__(self, spec: RunSpec, attempt: int, model: AdaptedModel, **shared: Any) -> None:
        self._spec = spec
        self._rows: list[dict[str, Any]] = []
        self._shared = {
            **spec.cells,
            "status": "done",
            **count_cells(count(model)),
            "attempt": attempt,
            "created_at": now(),
            **shared,
        }

    def add(
        self, task: str, main: str, split: str, seconds: float, values: Sequence[Value]
    ) -> None:
        """Add the values of one task and split."""
        for value in values:
            self._rows.append(
                {
                    **self._shared,
                    "task": task,
                    "split": split,
                    "metric": f"{task}.{value.metric}",
                    "main": value.metric == main,
                    "family": value.family,
                    "value": value.value,
                    "majority": value.majority,
                    "n_examples": value.n,
                    "evaluate_seconds": seconds,
                    "data_fingerprint": self._spec.data[task],
                }
            )

    def write(self, file: Path, **measured: Any) -> None:
        """Write the checksums of all files, then the table with what was measured at the end."""
        rows = [{**row, **measured} for row in self._rows]
        content = _parquet(pa.Table.from_pylist(rows, schema=result_schema()))
        write_sums(file.parent, {file.name: content})
        write_atomically(file, content)


def count_cells(counts: Counts) -> dict[str, Any]:
    """The columns about the model's size."""
    return {
        "trainable_parameters": counts.trainable,
        "total_parameters": counts.total,
        "trainable_percent": counts.percent,
        "denominator": counts.denominator,
    }


def code_version() -> str:
    """vlbench's version, with the commit and a dirty mark where it runs from a checkout."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return __version__
    git = ["git", "-C", str(checkout)]
    try:
        commit, changes = (
            subprocess.run(
                [*git, *words], capture_output=True, text=True, check=True, timeout=30
            ).stdout.strip()
            for words in (
                ("rev-parse", "--short=12", "HEAD"),
                ("status", "--porcelain", "--", "vlbench"),
            )
        )
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__} {commit}{'+dirty' if changes else ''}"


def versions() -> str:
    """Versions of the libraries that compute, as JSON, with the number of threads."""
    computing = ("torch", "transformers", "accelerate", "numpy")
    used = [name for name in EXTRAS if name in sys.modules]
    libraries = {name: version(name) for name in (*computing, *used)}
    threads = torch.get_num_threads()
    return json.dumps({"python": platform.python_version(), **libraries, "threads": threads})


def device_name(device: torch.device) -> str:
    """`cuda: NVIDIA A100`, or `cpu:` with the processor's name."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return f"{device.type}: {platform.processor() or platform.machine()}"
    names = [line for line in text.splitlines() if line.startswith("model name")]
    name = names[0].partition(":")[2].strip() if names else platform.machine()
    return f"{device.type}: {name}"


def peak_memory_bytes(device: torch.device) -> int:
    """Peak memory of this process: device memory on a GPU, resident set on CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
