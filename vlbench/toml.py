"""TOML that anybody may have written: cards and configuration files, of bounded size and depth."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vlbench.errors import CardError

MOST_BYTES = 1 << 18
MOST_LEVELS = 32
"""Tables and lists within each other; parts of a dotted key."""
LARGEST = 1 << 40
"""Above all that cards count: examples, seeds, bytes of an archive."""
MOST_DOTS = 1_000
"""Of a line: a dotted key takes time by the square of its parts."""


def read_toml(path: Path, shown: str) -> dict[str, Any]:
    """Read a TOML file, which messages call `shown`."""
    try:
        with path.open("rb") as content:
            text = content.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise CardError(f"{shown}: more than {MOST_BYTES:,} bytes, which no card needs")
        return parse_toml(text.decode(), shown)
    except (OSError, ValueError) as error:  # a ValueError of a path that holds a NUL, too
        if isinstance(error, FileNotFoundError):
            raise CardError(f"{shown}: no such file") from None
        is_text = isinstance(error, tomllib.TOMLDecodeError | UnicodeDecodeError)
        kind = "not valid TOML in UTF-8" if is_text else "cannot be read"
        raise CardError(f"{shown}: {kind}: {getattr(error, 'strerror', None) or error}") from None


def parse_toml(text: str, shown: str) -> dict[str, Any]:
    """Parse TOML; CardError where it is deeper or a number larger than a card can mean."""
    try:
        if any(line.count(".") > MOST_DOTS for line in text.split("\n")):
            raise RecursionError
        table = tomllib.loads(text)
        _check_size(table, MOST_LEVELS)
        return table
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        levels = f"more than {MOST_LEVELS} levels deep"
        raise CardError(f"{shown}: tables, lists or dotted keys are nested {levels}") from None
    except ValueError:  # Python, too, reads no number of more than 4,300 digits
        raise CardError(f"{shown}: a whole number is larger than {LARGEST:,}") from None


def _check_size(value: Any, levels: int) -> None:
    if isinstance(value, dict | list):
        if not levels:
            raise RecursionError
        for inner in value.values() if isinstance(value, dict) else value:
            _check_size(inner, levels - 1)
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError


def merge(table: dict[str, Any], changes: dict[str, Any]) -> None:
    """Put single values of `changes`, and of the tables in it, in place of those in `table`."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(table.get(key), dict):
            merge(table[key], value)
        else:
            table[key] = value


def dotted(location: Iterable[int | str]) -> str:
    """Spell a location as TOML does: `when."clip-t5/*".params.rank`, `tasks[0]`."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            is_bare = re.fullmatch(r"[\w-]+", part)
            key = part if is_bare else json.dumps(part, ensure_ascii=False)
            text += f".{key}" if text else key
    return text


def leaves(table: dict[str, Any], outer: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of all leaves of a table."""
    for key, value in table.items():
        name = f"{outer}{dotted([key])}"
        if isinstance(value, dict):
            yield from leaves(value, f"{name}.")
        else:
            yield name, value
