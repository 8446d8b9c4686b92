"""Readers of the official file formats: a table; a reader's module is imported when it is used."""

from __future__ import annotations

from pathlib import Path

from vlbench.data.readers.base import Reader
from vlbench.errors import UsageError, nearest
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
}


def load_reader(name: str, root: Path) -> Reader:
    """The reader of that name in the table READERS, or at "module:Class", of the data in `root`."""
    target = READERS.get(name, name)
    if ":" not in target:
        raise UsageError(
            f"Unknown reader '{name}'. {nearest(name, READERS)} Your own is named \"module:Class\"."
        )
    reader = load(name, target)
    if not (isinstance(reader, type) and issubclass(reader, Reader)):
        raise UsageError(f"'{name}' is not a reader: no subclass of {Reader.__module__}.Reader.")
    return reader(root)
