"""The columns of `result.parquet`: what `running` writes and `leaderboard` reads.

`results/README.md` explains each one to readers; a test holds the two together.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Column(NamedTuple):
    """One column: its name, its Arrow type by name, its unit, and what it holds."""

    name: str
    type: str
    unit: str
    text: str


MOST_ROWS = 20_000
"""Far more than the metrics and families of any suite."""
COLUMNS = (
    Column("key", "string", "", "run key: hash of everything that can influence the result"),
    Column("attempt", "int64", "", "which try at this run, from 1"),
    Column("status", "string", "", "done for every row with a value"),
    Column("method", "string", "", "name of the method card"),
    Column("title", "string", "", "title of the method card"),
    Column("technique", "string", "", "code that adapted the backbone"),
    Column("sharing", "string", "", "whose weights a task uses: task, all, up, down"),
    Column(
        "settings",
        "string",
        "",
        "the --set overrides and another --encoder, comma-separated; empty for the card as is",
    ),
    Column(
        "init",
        "string",
        "",
        "weights the run started from: 12 hex digits of their sha256, file name; empty: none",
    ),
    Column("suite", "string", "", "tasks trained together in one model"),
    Column("task", "string", "", "name of the task card"),
    Column("backbone", "string", "", "pretrained model that was adapted"),
    Column("backbone_hash", "string", "", "sha256 over the backbone's weights and tokenizer files"),
    Column("edition", "string", "", "mini (generated) or full (official files)"),
    Column("scope", "string", "", "complete, or smoke when --limit cut the data"),
    Column(
        "limit", "int64", "examples", "the --limit that cut each task's data; null when complete"
    ),
    Column("split", "string", "", "val or test, in the task card's meaning"),
    Column("seed", "int64", "", "seed of initialisation, data order, answer sampling and dropout"),
    Column("metric", "string", "", "task.metric, for example vqav2.accuracy"),
    Column("main", "bool", "", "true for the metric that enters the suite's average"),
    Column("family", "string", "", "question family the value is for; empty: all examples"),
    Column("value", "double", "percent", "the metric's value (CIDEr x 100)"),
    Column(
        "majority",
        "double",
        "percent",
        "score of always giving the family's most frequent training answer; null for captions",
    ),
    Column("n_examples", "int64", "examples", "examples scored"),
    Column("trainable_parameters", "int64", "parameters", "numbers that train, tied tensors once"),
    Column("total_parameters", "int64", "parameters", "all numbers of the model (see denominator)"),
    Column("trainable_percent", "double", "percent", "100 x trainable / total"),
    Column("denominator", "string", "", "what the total counts"),
    Column("adapter_bytes", "int64", "bytes", "size of adapter.safetensors"),
    Column(
        "peak_memory_bytes",
        "int64",
        "bytes",
        "peak memory of the worker: device memory on a GPU, resident set on CPU",
    ),
    Column("train_seconds", "double", "seconds", "time in training steps, without validation"),
    Column(
        "examples_per_second", "double", "examples/s", "training throughput, data loading included"
    ),
    Column("evaluate_seconds", "double", "seconds", "time to generate and score this task's split"),
    Column("learning_rate", "double", "", "peak learning rate"),
    Column("epochs", "int64", "epochs", "passes over the training data"),
    Column("batch_size", "int64", "examples", "the card's base batch size"),
    Column("precision", "string", "", "fp32 or bf16"),
    Column("device", "string", "", "device and its name, `2 x` where two processes shared the run"),
    Column("card_hash", "string", "", "sha256 of the resolved method and task cards"),
    Column(
        "data_fingerprint", "string", "", "sha256 over the task's annotations, pictures and encoder"
    ),
    Column("code_version", "string", "", "vlbench version, git commit and +dirty where known"),
    Column(
        "versions", "string", "", "JSON: python, torch, transformers, accelerate, numpy, threads"
    ),
    Column("created_at", "string", "UTC", "ISO 8601 time of the row"),
)

IDENTIFYING = (
    "key", "status", "method", "settings", "init", "suite", "task", "backbone", "backbone_hash",
    "edition", "scope", "split", "seed", "metric", "main", "family",
)  # fmt: skip
"""The columns that say which number a row holds: never null. Every other column may be."""

LATER = {"init": ""}
"""Columns that came after the first results, with what a file without them means."""


def result_schema() -> Any:
    """The Arrow schema of `result.parquet`: every column, in order."""
    import pyarrow as pa

    return pa.schema(
        pa.field(column.name, pa.type_for_alias(column.type), column.name not in IDENTIFYING)
        for column in COLUMNS
    )
