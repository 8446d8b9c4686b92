"""The result of a run: scores, predictions, trained tensors, the code and device behind them."""

from __future__ import annotations

import json
import math
import platform
import re
import resource
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from safetensors.torch import save

from vlbench import __version__
from vlbench.backbones import find_backbone
from vlbench.cards.schema import TaskCard
from vlbench.data.example import Example
from vlbench.errors import UsageError, nearest
from vlbench.files import write_atomically
from vlbench.metrics import Scored, load_metric, percent
from vlbench.parquet import COLUMNS, encode
from vlbench.runs.spec import RunSpec
from vlbench.runs.sums import write_sums
from vlbench.techniques import parts_of
from vlbench.techniques.adapt import AdaptedModel, Counts, count, trained_state
from vlbench.text import now

NO_MAJORITY = ("captions", "value-captions")
"""Metrics of free text, which has no most frequent answer."""
REFERENCE_KEYS = ("answers", "answer", "label", "captions")
"""Keys of official records for the reference answers."""


class Value(NamedTuple):
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
    """Score by the official metric; `validation` leaves out what takes longest.

    UsageError where it gives NaN or infinity, as a metric of the user's own may, or not the card's
    main metric.
    """
    annotations = {example.id: example.annotation for example in examples}
    scored = load_metric(card.metric, validation)(annotations, answers)
    if card.main_metric not in scored.metrics:
        known = nearest(card.main_metric, scored.metrics)
        raise UsageError(
            f"{card.shown}: main_metric: '{card.metric}' gives no '{card.main_metric}'. {known}"
        )
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
    return score(card, examples, majority_answers(most_frequent(train), examples))


def most_frequent(train: Sequence[Example]) -> dict[str, str]:
    """Family -> its most frequent answer in training; "" -> that of all."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for example in train:
        for answer, weight in example.targets.items():
            counts[example.family][answer] += weight  # type: ignore[assignment]
            counts[""][answer] += weight  # type: ignore[assignment]
    return {family: max(sorted(words), key=words.__getitem__) for family, words in counts.items()}


def majority_answers(best: Mapping[str, str], examples: Sequence[Example]) -> dict[str, str]:
    """Example id -> the most frequent answer of its family, or where that has none, of all."""
    overall = best.get("", "")
    return {example.id: best.get(example.family, overall) for example in examples}


def write_predictions(
    file: Path, examples: Sequence[Example], answers: Mapping[str, str], scored: Scored
) -> None:
    """Write one row per example: id, family, text, prediction, references (JSON), score."""
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
    write_atomically(file, encode(table))


def references(example: Example) -> str:
    """The reference answers of an example, as JSON."""
    record = example.annotation
    answers = next((record[key] for key in REFERENCE_KEYS if key in record), None)
    return json.dumps(answers, ensure_ascii=False)


def write_adapter(file: Path, model: AdaptedModel, spec: RunSpec) -> None:
    """Write the trained tensors only, with the card they belong to."""
    card = {"method": spec.method.model_dump(mode="json"), "key": spec.key}
    card |= {"backbone": spec.backbone, "suite": spec.suite}
    # one key of metadata, as several have no fixed order
    metadata = {"vlbench": json.dumps(card, sort_keys=True)}
    tensors = {name: tensor.cpu() for name, tensor in trained_state(model).items()}
    write_atomically(file, save(tensors, metadata))


def write_result(
    file: Path,
    spec: RunSpec,
    model: AdaptedModel,
    parts: Iterable[tuple[TaskCard, float, Sequence[Value]]],
    shared: Mapping[str, Any],
) -> None:
    """Write the checksums of all files of the run, then the table that makes it done.

    `parts`: each task with the seconds of its test and its values; `shared` stands in all rows.
    """
    same = {**spec.cells, "status": "done", **count_cells(count(model)), **shared}
    rows = [
        {
            **same,
            "task": card.name,
            "split": spec.split,
            "metric": f"{card.name}.{value.metric}",
            "main": value.metric == card.main_metric,
            "family": value.family,
            "value": value.value,
            "majority": value.majority,
            "n_examples": value.n,
            "evaluate_seconds": seconds,
            "data_fingerprint": spec.data[card.name],
        }
        for card, seconds, scores in parts
        for value in scores
    ]
    content = encode(pa.Table.from_pylist(rows, schema=COLUMNS))
    write_sums(file.parent, {file.name: content})
    write_atomically(file, content)


def count_cells(counts: Counts) -> dict[str, Any]:
    """The columns about the model's size."""
    return {
        "trainable_parameters": counts.trainable,
        "total_parameters": counts.total,
        "trainable_percent": counts.percent,
        "denominator": counts.denominator,
        "model_parameters": counts.whole,
        "projector": counts.trains_projector,
    }


def provenance(spec: RunSpec, device: torch.device, processes: int) -> dict[str, Any]:
    """The columns about the code and the device."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = platform.processor() or platform.machine()
        with suppress(OSError):
            text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
            name = next(iter(re.findall(r"model name\s*: *(.*)", text)), name).strip()
    return {
        "device": f"{processes} x " * (processes > 1) + f"{device.type}: {name}",
        "code_version": code_version(),
        "versions": versions(spec),
        "created_at": now(),
    }


def code_version() -> str:
    """vlbench's version, with the commit and a dirty mark where it runs from a checkout."""
    checkout = Path(__file__).resolve().parents[2]
    options = ("--always", "--exclude=*", "--abbrev=12", "--dirty=+dirty")
    if (checkout / ".git").exists():
        with suppress(OSError, subprocess.SubprocessError):
            command = ["git", "-C", str(checkout), "describe", *options]
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
            return f"{__version__} {done.stdout.strip()}"
    return __version__


def versions(spec: RunSpec) -> str:
    """Versions of the libraries that compute the run, as JSON, with the number of threads."""
    used = ["torch", "transformers", "accelerate", "numpy"]
    used += ["peft"] if "peft" in parts_of(spec.method.technique) else []
    used += ["bitsandbytes"] if spec.method.train.weights == "4bit" else []
    if find_backbone(spec.backbone_reference).reads_pictures:
        used += ["pillow", "tokenizers"]
    libraries = {name: version(name) for name in used}
    threads = torch.get_num_threads()
    return json.dumps({"python": platform.python_version(), **libraries, "threads": threads})


def peak_memory_bytes(device: torch.device) -> int:
    """Peak memory of this process: device memory on a GPU, resident set on CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
