"""What a search found, written into a method's card: the rate, and in [tuning] what was tried.

The text is edited, not written anew, so that comments stay; what it then says is compared with what
it should say.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from vlbench.cards.schema import CardFile
from vlbench.errors import CardError
from vlbench.files import write_atomically
from vlbench.toml import parse_toml

HEADER = re.compile(r"\s*\[")
AROUND = re.compile(r"train\.learning_rate around ([0-9.e-]+): ")
RATE = re.compile(r"\s*train\.learning_rate\s*=")


class Searched(NamedTuple):
    """The outcome of a search for one method."""

    pattern: str
    """`backbone/suite`, as in the card's `when`."""
    rate: float
    center: float
    """The rate that it began with."""
    rates: Sequence[float]
    """All that were tried."""
    trials: int
    selected_on: str

    @property
    def line(self) -> str:
        """What `tuning.searched` says of it."""
        tried = ", ".join(map(written, sorted(self.rates)))
        return f"{self.pattern}: train.learning_rate around {written(self.center)}: {tried}"


def searched_around(pattern: str, lines: Sequence[str]) -> float | None:
    """The rate that a search of this backbone and suite began with, as a card tells."""
    for line in lines:
        if match := AROUND.match(line.removeprefix(f"{pattern}: ")):
            return float(match[1])
    return None


def written(rate: float) -> str:
    """The rate as cards spell it: 3e-3."""
    digits, _, exponent = f"{rate:e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"


def write_tuned(file: CardFile, outcome: Searched) -> bool:
    """Write the outcome into a card; return whether that changed it.

    CardError where its text cannot be edited so that it says this and all that it said.
    """
    text = file.path.read_text(encoding="utf-8")
    before = parse_toml(text, file.shown)
    expected = _expected(before, outcome)
    if expected == before:
        return False
    lines = text.rstrip("\n").split("\n")
    _write_tuning(lines, expected["tuning"])
    _write_rate(lines, outcome)
    edited = "\n".join(lines) + "\n"
    try:
        is_right = parse_toml(edited, file.shown) == expected
    except ValueError:
        is_right = False
    if not is_right:
        where = (
            f'[tuning] and [when."{outcome.pattern}"] train.learning_rate = {written(outcome.rate)}'
        )
        raise CardError(f"{file.shown}: cannot be edited by this command; write by hand: {where}")
    write_atomically(file.path, edited)
    return True


def _expected(before: dict[str, Any], outcome: Searched) -> dict[str, Any]:
    """The table that the card should hold."""
    table = copy.deepcopy(before)
    override = table.setdefault("when", {}).setdefault(outcome.pattern, {})
    override.setdefault("train", {})["learning_rate"] = float(written(outcome.rate))
    tuning = table.get("tuning", {})
    others = [
        line
        for line in tuning.get("searched", [])
        if line.count(": ") == 2 and not line.startswith(f"{outcome.pattern}: ")
    ]
    table["tuning"] = {
        "searched": [*others, outcome.line],
        "trials": outcome.trials,
        "selected_on": outcome.selected_on,
    }
    return table


def _write_tuning(lines: list[str], tuning: dict[str, Any]) -> None:
    """Replace [tuning], or put it behind the other tables."""
    start = len(lines)
    if (section := _section(lines, "[tuning]")) is not None:
        start = section[0]
        del lines[section[0] : section[1]]
    new = ["[tuning]", *(_field(name, value) for name, value in tuning.items()), ""]
    if start and lines[start - 1 : start] != [""]:
        new.insert(0, "")
    lines[start:start] = new
    while lines and not lines[-1]:
        lines.pop()


def _field(name: str, value: Any) -> str:
    if isinstance(value, list) and len(value) > 1:
        items = "".join(f"    {json.dumps(item, ensure_ascii=False)},\n" for item in value)
        return f"{name} = [\n{items}]"
    return f"{name} = {json.dumps(value, ensure_ascii=False)}"


def _write_rate(lines: list[str], outcome: Searched) -> None:
    line = f"train.learning_rate = {written(outcome.rate)}"
    section = _section(lines, f'[when."{outcome.pattern}"]')
    if section is None:
        lines += ["", f'[when."{outcome.pattern}"]', line]
        return
    at = [n for n in range(*section) if RATE.match(lines[n])]
    for number in at:
        comment = lines[number].partition("#")[2]
        lines[number] = f"{line}  #{comment}" if comment else line
    if not at:
        lines.insert(section[0] + 1, line)


def _section(lines: Sequence[str], header: str) -> tuple[int, int] | None:
    """The lines of a table: from its header to the next one."""
    start = next((n for n, line in enumerate(lines) if line.strip().startswith(header)), None)
    if start is None:
        return None
    rest = range(start + 1, len(lines))
    inside = 0  # of a list over several lines
    for number in rest:
        if not inside and HEADER.match(lines[number]):
            while lines[number - 1].lstrip().startswith("#"):  # of the next table
                number -= 1
            return start, number
        inside += lines[number].count("[") - lines[number].count("]")
    return start, len(lines)
