"""Readers of official files and of your own: a table; a module is imported when it is used."""

from __future__ import annotations

from pathlib import Path

from vlbench.cards.schema import TaskCard
from vlbench.data.readers.base import Reader
from vlbench.errors import CardError, UsageError, nearest
from vlbench.outside import load

READERS = {
    "vqav2": "vlbench.data.readers.vqav2:VQAv2",
    "gqa": "vlbench.data.readers.gqa:GQA",
    "nlvr2": "vlbench.data.readers.nlvr:NLVR2",
    "coco": "vlbench.data.readers.coco:COCO",
    "nlvr": "vlbench.data.readers.nlvr:NLVR",
    "easy-vqa": "vlbench.data.readers.easy_vqa:EasyVQA",
    "tvqa": "vlbench.data.readers.video:TVQA",
    "how2qa": "vlbench.data.readers.video:How2QA",
    "tvc": "vlbench.data.readers.video:TVC",
    "yc2c": "vlbench.data.readers.video:YC2C",
    "jsonl": "vlbench.data.readers.formats:JSONLines",
    "llava": "vlbench.data.readers.formats:LLaVA",
    "csv": "vlbench.data.readers.formats:CSV",
    "folder": "vlbench.data.readers.formats:ImageFolder",
}


OWN_DATA = ("jsonl", "llava", "csv", "folder")
"""Readers of the files that a task card names."""


def card_reader(card: TaskCard, root: Path) -> Reader:
    """The reader that a task card names, of the data in `root` or in the card's own files."""
    if card.files and card.reader not in OWN_DATA:
        known = nearest(card.reader, OWN_DATA)
        raise CardError(f"{card.shown}: reader: '{card.reader}' reads no [files]. {known}")
    try:
        return _reader_class(card.reader).of_card(card, root)
    except CardError:
        raise
    except UsageError as error:
        raise CardError(f"{card.shown}: reader: {error}") from None


def load_reader(name: str, root: Path) -> Reader:
    """The reader of that name in the table READERS, or at "module:Class", of the data in `root`."""
    return _reader_class(name)(root)


def _reader_class(name: str) -> type[Reader]:
    target = READERS.get(name, name)
    if ":" not in target:
        raise UsageError(
            f"Unknown reader '{name}'. {nearest(name, READERS)} Your own is named \"module:Class\"."
        )
    reader = load(name, target)
    if not (isinstance(reader, type) and issubclass(reader, Reader)):
        raise UsageError(f"'{name}' is not a reader: no subclass of {Reader.__module__}.Reader.")
    return reader
