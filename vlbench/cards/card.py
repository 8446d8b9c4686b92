"""What method and task cards have in common: a name, a file, and how they are read from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import PrivateAttr

from vlbench.cards.checking import Checked, Fault, check
from vlbench.cards.files import CardFile


class Card(Checked):
    """A card that is read from a file of its own."""

    name: str
    """The card file's name."""

    _file: CardFile | None = PrivateAttr(default=None)

    @property
    def shown(self) -> str:
        """What messages call the card: its file."""
        return self._file.shown if self._file else self.name

    @property
    def folder(self) -> Path | None:
        """The folder of a card given by its path, where its Python file may lie too."""
        return self._file.folder if self._file else None

    def text(self) -> str:
        """The card as it is written."""
        return self._file.path.read_text(encoding="utf-8").strip() if self._file else ""


C = TypeVar("C", bound=Card)


def read_card(
    model: type[C], file: CardFile, table: dict[str, Any]
) -> tuple[C | None, list[Fault]]:
    """The card that a table makes, or all its faults; a card's name is its file's name."""
    card, faults = check(model, {**table, "name": file.name})
    if "name" in table:
        faults.append(Fault(("name",), "Unknown key 'name': a card's name is its file's name."))
    if card is not None:
        card._file = file
    return card, faults
