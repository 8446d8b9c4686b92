"""Readers of the official file formats: a table; a reader's module is imported when it is used."""

from __future__ import annotations

import importlib
from pathlib import Path

from vlbench.data.readers.base import Reader
from vlbench.errors import UsageError, nearest

READERS = {
    "vqav2": "vlbench.data.readers.vqav2:VQAv2",
    "gqa": "vlbench.data.readers.gqa:GQA",
    "nlvr2": "vlbench.data.readers.nlvr2:NLVR2",
    "coco": "vlbench.data.readers.coco:COCO",
    "nlvr": "vlbench.data.readers.nlvr:NLVR",
    "easy-vqa": "vlbench.data.readers.easy_vqa:EasyVQA",
    "tvqa": "vlbench.data.readers.video_questions:TVQA",
    "how2qa": "vlbench.data.readers.video_questions:How2QA",
    "how2qa-csv": "vlbench.data.readers.how2qa_csv:How2QACsv",
    "tvc": "vlbench.data.readers.video_captions:TVC",
    "yc2c": "vlbench.data.readers.video_captions:YC2C",
}


def load_reader(name: str, root: Path) -> Reader:
    """The reader of that name in the table READERS, or at "module:Class", of the data in `root`."""
    module_name, _, attribute = READERS.get(name, name).partition(":")
    if not attribute:
        raise UsageError(
            f"Unknown reader '{name}'. {nearest(name, READERS)} Your own is named \"module:Class\"."
        )
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:
        raise UsageError(f"'{name}': {type(error).__name__}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Reader)):
        raise UsageError(
            f"'{name}': '{attribute}' is not a reader: it must be a subclass of "
            "vlbench.data.readers.base.Reader."
        )
    return found(root)
