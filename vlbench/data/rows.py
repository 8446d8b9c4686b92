"""Examples as rows of an Arrow file: a column per field of an example, a row per example.

The subtitles of a clip, which many examples share, stand in the row of the first one only;
`context_row` tells which, and is -1 where there are none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from vlbench.data.example import Example
from vlbench.data.faults import excerpt
from vlbench.errors import DataError
from vlbench.files import write_atomically

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "text": pa.string(),
        "images": pa.list_(pa.string()),
        "answers": pa.list_(pa.string()),
        "scores": pa.list_(pa.float64()),
        "annotation": pa.string(),
        "family": pa.string(),
        "context_row": pa.int64(),
        "context": pa.string(),
    }
)
LOOKED_AT = [name for name in SCHEMA.names if name != "context"]
"""What `examples_of` wants of a piece; contexts are looked up."""
BATCH_ROWS = 4096


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Write a file of the examples, some thousand at a time; it appears whole or not at all."""

    def write(beside: Path) -> None:
        contexts = {"": -1}
        pending = iter(examples)
        start = 0
        with pa.OSFile(str(beside), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            while group := list(islice(pending, BATCH_ROWS)):
                writer.write_batch(_record_batch(group, start, contexts))
                start += len(group)

    write_atomically(path, write)


def examples_of(
    batch: Any, origins: Sequence[int], context: Callable[[int], str]
) -> Iterator[Example]:
    """The examples of a record batch with the columns LOOKED_AT.

    `context` gives the context that stands in a row, `origins` the row at which each example's
    file begins.
    """
    contexts: dict[int, str] = {}
    columns = [column.to_pylist() for column in batch.columns]
    for origin, (name, text, images, answers, scores, annotation, family, row) in zip(
        origins, zip(*columns, strict=True), strict=True
    ):
        if row >= 0 and origin + row not in contexts:
            contexts[origin + row] = context(origin + row)
        yield Example(
            id=name,
            text=text,
            images=tuple(images),
            targets=dict(zip(answers, scores, strict=True)),
            annotation=json.loads(annotation) if annotation else {},
            family=family,
            context=contexts[origin + row] if row >= 0 else "",
        )


def _record_batch(examples: list[Example], start: int, contexts: dict[str, int]) -> Any:
    """The rows from `start` on; `contexts` tells where a context stands, and learns the new."""
    _require_json(examples[0])  # what one reader's examples hold is of one kind
    rows = [
        (
            each.id,
            each.text,
            each.images,
            list(each.targets),
            list(each.targets.values()),
            _json(each),
            each.family,
            contexts.setdefault(each.context, row),
            each.context if contexts[each.context] == row else "",
        )
        for row, each in enumerate(examples, start)
    ]
    try:
        columns = dict(zip(SCHEMA.names, zip(*rows, strict=True), strict=True))
        return pa.record_batch(columns, SCHEMA)
    except (UnicodeEncodeError, pa.ArrowException) as error:
        raise DataError(
            f"One of the examples {examples[0].id} to {examples[-1].id} has a field of another "
            f"type than Example says, or half a character: {error}"
        ) from None


def _json(example: Example) -> str:
    """The annotation as JSON; nothing where there is none."""
    if not example.annotation:
        return ""
    try:
        return json.dumps(example.annotation, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"Example {example.id}: its annotation cannot be kept as JSON: {error}"
        ) from None


def _require_json(example: Example) -> None:
    """Refuse an annotation that JSON would give back as another one."""
    again = json.loads(_json(example) or "{}")
    if again != example.annotation:
        raise DataError(
            f"Example {example.id}: its annotation {excerpt(example.annotation)} is no JSON "
            "object: it may hold texts, numbers, truth values, lists, and objects with texts as "
            "keys."
        )
