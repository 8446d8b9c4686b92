"""Text for people: outside names made printable, times, durations, options to type.

Names in results, cards and logs come from anybody. Control characters could move a terminal's
cursor, signs of direction reverse a line, and most may stand in no XML: they are shown by number,
`[U+001B]`, so that names stay distinct.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

HIDDEN = re.compile(
    "["
    r"\x00-\x1f\x7f-\x9f"  # controls
    r"\xad\u200b-\u200d\u2060-\u2064\ufeff"  # of no width
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f"  # of direction
    r"\u2028\u2029"  # ends of lines and paragraphs
    r"\ud800-\udfff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f"  # halves, annotations, tags
    "]"
)


def printable(text: str) -> str:
    """The text in one line, nothing of it hidden."""
    return HIDDEN.sub(lambda match: by_number(match[0]), text)


def printable_lines(text: str) -> str:
    """The same of a text whose own lines and tabs may stay."""
    return re.sub(r"[^\n\t]+", lambda part: printable(part[0]), text)


def printable_json(document: Mapping[str, Any]) -> str:
    """An object as JSON in ASCII, whatever the encoding of the output; NaN is refused.

    A line for each value, and for each item of a list: `indent` makes the encoder slow.
    """
    dumps = partial(json.dumps, allow_nan=False)
    lines = []
    for name, value in document.items():
        items = ",\n    ".join(map(dumps, value)) if isinstance(value, list) else ""
        lines.append(f"  {dumps(name)}: " + (f"[\n    {items}\n  ]" if items else dumps(value)))
    return "{\n" + ",\n".join(lines) + "\n}"


def by_number(sign: str) -> str:
    """A character as Unicode calls it."""
    return f"[U+{ord(sign):04X}]"


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def format_duration(seconds: float) -> str:
    """A duration in two units: 8 s, 2 min 3 s, 5 h 20 min, 3 d 4 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def results_option(folder: Path) -> str:
    """The option that names a results folder, with a space in front; nothing for the default."""
    return "" if folder == Path("results") else f" --results {quote(str(folder))}"


def format_bytes(count: int) -> str:
    """A number of bytes in decimal units: 512 bytes, 36.7 MB, 13.5 GB."""
    size, units = float(count), ["TB", "GB", "MB", "kB"]
    while size >= 1000 and units:
        size, unit = size / 1000, units.pop()
    return f"{count} bytes" if count < 1000 else f"{size:.1f} {unit}"
