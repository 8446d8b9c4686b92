"""What a finished run leaves: predictions, trained tensors, and rows of the result table."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.torch import save

from vlbench.columns import result_schema
from vlbench.data.example import Example
from vlbench.files import write_atomically
from vlbench.metrics import Scored
from vlbench.running.scoring import Value
from vlbench.running.spec import RunSpec
from vlbench.running.sums import write_sums
from vlbench.techniques.adapt import AdaptedModel, Counts, count, trained_state
from vlbench.times import now

REFERENCE_KEYS = ("answers", "answer", "label", "captions")
"""Where official records keep what is right."""


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
    write_atomically(file, parquet(table))


def references(example: Example) -> str:
    """What is right for an example, as JSON."""
    found = next(
        (example.annotation[key] for key in REFERENCE_KEYS if key in example.annotation), None
    )
    return json.dumps(found, ensure_ascii=False)


def parquet(table: pa.Table) -> bytes:
    """The table as a Parquet file holds it."""
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd", compression_level=15)
    return content.getvalue()


def write_adapter(file: Path, model: AdaptedModel, spec: RunSpec) -> int:
    """The trained tensors only, with the card they belong to; returns the bytes."""
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
    """Collects the rows of a run's `result.parquet`; what all of them share is said once."""

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
        """The values of one task and split."""
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
        """Write the table, with what was measured at the very end; before it, all files' sums."""
        rows = [{**row, **measured} for row in self._rows]
        content = parquet(pa.Table.from_pylist(rows, schema=result_schema()))
        write_sums(file.parent, {file.name: content})
        write_atomically(file, content)


def count_cells(counts: Counts) -> dict[str, Any]:
    """What all rows of a run say of its model's size."""
    return {
        "trainable_parameters": counts.trainable,
        "total_parameters": counts.total,
        "trainable_percent": counts.percent,
        "denominator": counts.denominator,
    }
