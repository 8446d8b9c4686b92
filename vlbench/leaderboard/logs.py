"""Training curves of runs: losses by step, and validation after each epoch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlbench.errors import DataError
from vlbench.files import text_lines
from vlbench.text import printable

VALIDATION, LOSS = {"epoch", "validation"}, {"step", "task", "loss"}
"""The keys of the two kinds of lines."""


@dataclass(frozen=True)
class Log:
    """The training curve of one run."""

    losses: Mapping[str, Sequence[tuple[int, float]]]
    """By task: the steps whose loss was noted, with the loss of that batch."""
    validations: Mapping[int, Mapping[str, float]]
    """By epoch: the main metrics on the validation split."""

    @property
    def last_step(self) -> int:
        """The last step with a loss; 0 where there is none."""
        return max((step for points in self.losses.values() for step, _ in points), default=0)


def read_log(folder: Path, key: str) -> Log | None:
    """The curve of a run of a results folder; None where the run has no such file."""
    file = folder / "runs" / key / "metrics.jsonl"
    try:
        lines = text_lines(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error}") from None
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    losses: dict[str, list[tuple[int, float]]] = {}
    validations: dict[int, dict[str, float]] = {}
    for number, text in enumerate(lines, start=1):
        line = _line(file, number, text)
        if "validation" in line:
            values = line["validation"]
            validations[line["epoch"]] = {
                printable(name): float(value) for name, value in values.items() if _is_number(value)
            }
        elif math.isfinite(line["loss"]):
            losses.setdefault(printable(line["task"]), []).append((line["step"], line["loss"]))
    return Log(losses, validations)


def _line(file: Path, number: int, text: str) -> dict[str, Any]:
    """One line; an error where it is not what a run writes."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: line {number}: Not JSON: {error}") from None
    if isinstance(line, dict):
        if set(line) >= VALIDATION and isinstance(line["validation"], dict):
            return line
        if set(line) >= LOSS and _is_number(line["loss"]) and isinstance(line["task"], str):
            return line
    raise DataError(f"{file}: line {number}: Neither a loss by step nor a validation.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
