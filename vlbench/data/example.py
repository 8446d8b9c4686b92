"""What every reader yields: examples, and the faults of records that are none."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vlbench.errors import DataError

T = TypeVar("T", str, int, list, dict)  # type: ignore[type-arg]
SHOWN = 10  # faults that a message lists; of the others it gives the number
KINDS = {str: "a string", int: "a whole number", list: "a list", dict: "an object"}


@dataclass(frozen=True, slots=True)
class Example:
    """A text about one or more pictures, and what a model should answer."""

    id: str  # unique within the task and split, as the official files spell it
    text: str  # the question or sentence without the task's prompt; empty for captioning
    images: tuple[str, ...]  # image ids (file stems) in order
    targets: dict[str, float]
    """Answer -> score in [0, 1]; training samples one in proportion. Empty: nothing to learn."""
    annotation: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The official record, as the official metric wants it."""
    family: str = ""
    """The kind of question, as the dataset names it; majority rates are given per family."""
    context: str = ""
    """What stands before the text and is the first to be cut with `truncate = "subtitles"`: the
    subtitles of a clip."""


class RecordFault(Exception):
    """A record that is not as its format wants it; `Faults.of` adds file and record."""


class Faults:
    """Collects faults; `refuse` raises them as one DataError: the first ten and the count."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, file: Path, record: str, text: str) -> None:
        """Note that `record` in `file` is faulty."""
        self.texts.append(f"{file}: {record}: {text}" if record else f"{file}: {text}")

    @contextmanager
    def of(self, file: Path, record: str) -> Iterator[None]:
        """Note a RecordFault of the block as a fault of `record` in `file`, and go on after it."""
        try:
            yield
        except RecordFault as fault:
            self.add(file, record, str(fault))

    def refuse(self) -> None:
        """Raise what was noted, if anything was."""
        if self.texts:
            total = f": {len(self.texts):,} faults in all" if len(self.texts) > SHOWN else ""
            raise DataError("\n".join(first_lines(self.texts)) + total)


def first_lines(texts: Sequence[str]) -> list[str]:
    """The first ten of them, and a line that gives the number of the others."""
    more = [f"... and {len(texts) - SHOWN:,} more"] if len(texts) > SHOWN else []
    return [*texts[:SHOWN], *more]


def field(record: Any, key: str, kind: type[T]) -> T:
    """The value under `key`, which must be there and of that kind."""
    if not isinstance(record, dict):
        raise RecordFault(f"should be an object, found {excerpt(record)}")
    if key not in record:
        raise RecordFault(f"'{key}' is missing")
    value = record[key]
    if type(value) is not kind:  # a bool is no whole number
        raise RecordFault(f"'{key}' should be {KINDS[kind]}, found {excerpt(value)}")
    return value


def excerpt(value: Any, longest: int = 60) -> str:
    """A value as JSON, cut to a readable length."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= longest else text[:longest] + "..."
