"""Where cards lie: the checkout, else the copy that the wheel carries, or a path a user gives."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vlbench.errors import CardError, UsageError, nearest

Kind = Literal["methods", "tasks"]
PACKAGE = Path(__file__).resolve().parents[1]
NOT_CARDS = {"suites"}
"""Files beside the task cards which are not task cards."""
MOST_BYTES = 1 << 18
MOST_LEVELS = 32
"""Tables and lists within each other; parts of a dotted key."""
LARGEST = 1 << 32
"""Above all that cards count and seeds can be."""
MOST_STEPS = 10_000_000
"""A dotted key takes time by the square of its parts."""


@dataclass(frozen=True)
class CardFile:
    """A card on disk: its name, where it lies, and how messages call it."""

    name: str
    path: Path
    shown: str
    is_outside: bool = False

    @property
    def folder(self) -> Path | None:
        """The folder of a card given by its path, where its Python file may lie too."""
        return self.path.parent if self.is_outside else None


def card_folder(kind: Kind) -> Path:
    """The folder of our own cards: beside the package in a checkout, else inside the package."""
    checkout = PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / kind).is_dir():
        return checkout / kind
    return PACKAGE / "_cards" / kind


def own_cards(kind: Kind) -> dict[str, CardFile]:
    """Our own cards by name, in alphabetical order."""
    paths = sorted(card_folder(kind).glob("*.toml"))
    return {
        path.stem: CardFile(path.stem, path, f"{kind}/{path.name}")
        for path in paths
        if path.stem not in NOT_CARDS
    }


def known_names(kind: Kind) -> dict[str, CardFile]:
    """Our own cards by name and by alias; where both meet, the name wins."""
    cards = own_cards(kind)
    return {alias: card for card in cards.values() for alias in _aliases(card)} | cards


def suites_file() -> CardFile:
    """The file of the suites."""
    return CardFile("suites", card_folder("tasks") / "suites.toml", "tasks/suites.toml")


def is_path(name: str) -> bool:
    """Whether a card is named by its path and not by its name."""
    return name.endswith(".toml") or "/" in name or "\\" in name


def find_card(kind: Kind, name: str, suites: Iterable[str] = ()) -> CardFile:
    """The card of that name, alias or path; the message for an unknown one names `suites` too."""
    if is_path(name):
        path = Path(name).expanduser()
        return CardFile(path.stem, path, name, is_outside=True)
    own = own_cards(kind)
    if name in own:  # without reading all cards for their aliases
        return own[name]
    known = known_names(kind)
    if name in known:
        return known[name]
    what = kind.removesuffix("s") + (" or suite" if suites else "")
    raise UsageError(
        f"Unknown {what} '{name}'. {nearest(name, {*known, *suites})} "
        f"A card of your own is given by its path: ./{name}.toml"
    )


def read_table(file: CardFile) -> dict[str, Any]:
    """The TOML table of a card."""
    try:
        with file.path.open("rb") as content:
            text = content.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise CardError(f"{file.shown}: more than {MOST_BYTES:,} bytes, which no card needs")
        return parse_toml(text.decode(), file.shown)
    except FileNotFoundError:
        raise CardError(f"{file.shown}: no such file") from None
    except tomllib.TOMLDecodeError as error:
        raise CardError(f"{file.shown}: not valid TOML: {error}") from None
    except UnicodeDecodeError as error:
        raise CardError(f"{file.shown}: not UTF-8 text: {error}") from None
    except (OSError, ValueError) as error:  # a ValueError of a path that holds a NUL
        reason = getattr(error, "strerror", None) or error
        raise CardError(f"{file.shown}: cannot be read: {reason}") from None


def parse_toml(text: str, shown: str) -> dict[str, Any]:
    """The table that TOML says; CardError of what is TOML and more than a card can mean."""
    try:
        dots = (line.count(".") for line in text.split("\n"))
        if sum(n * n for n in dots if n > MOST_LEVELS) > MOST_STEPS:
            raise RecursionError
        table = tomllib.loads(text)
        _check(table, MOST_LEVELS)
        return table
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        levels = f"more than {MOST_LEVELS} levels deep"
        raise CardError(f"{shown}: tables, lists or dotted keys are nested {levels}") from None
    except ValueError:  # Python, too, reads no number of more than 4,300 digits
        raise CardError(f"{shown}: a whole number is larger than {LARGEST:,}") from None


def _check(value: Any, levels: int) -> None:
    """RecursionError where it is nested deeper, ValueError where a number is larger."""
    if isinstance(value, dict | list):
        if not levels:
            raise RecursionError
        for inner in value.values() if isinstance(value, dict) else value:
            _check(inner, levels - 1)
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError


def split_names(selection: str | Iterable[str]) -> list[str]:
    """The names in a comma list, or in several."""
    texts = [selection] if isinstance(selection, str) else list(selection)
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("No name given: the list is empty.")
    return names


def refuse_twice(names: list[str]) -> None:
    """Refuse a card that is named twice, also by an alias or within a suite."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"Named twice: {', '.join(twice)}.")


def _aliases(file: CardFile) -> list[str]:
    """The aliases of a card; none where it cannot be read: that is told when it is used."""
    try:
        aliases = read_table(file).get("aliases")
    except CardError:
        return []
    return [name for name in aliases if isinstance(name, str)] if isinstance(aliases, list) else []
