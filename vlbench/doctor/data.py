"""The data of the tasks: which annotation files are there; `vlbench data check` reads them."""

from __future__ import annotations

from pathlib import Path

from vlbench.cards.task import TaskCard, all_tasks
from vlbench.data.mini.edition import NAMES
from vlbench.data.readers import load_reader
from vlbench.doctor.finding import Finding
from vlbench.files import cache_place


def find_data(root: Path | None, edition: str | None) -> Finding:
    """What a run with that root and edition would find."""
    if root is not None:
        return _root(root.expanduser().absolute(), edition or "mini")
    if edition == "full":
        remedy = "the edition full reads the official files: --root says where they lie"
        return Finding("data", False, "", remedy)
    made = [visual for visual, name in NAMES.items() if (cache_place()[0] / name).is_dir()]
    text = f"made: {', '.join(made)}" if made else "made in the cache on first use"
    return Finding("data", True, f"the mini edition, {text}")


def _root(root: Path, edition: str) -> Finding:
    if not root.is_dir():
        return Finding("data", False, "", f"{root}: no such folder; --root says where the data lie")
    counts = {card.name: _count(card, root, edition) for card in all_tasks() if _has(card, edition)}
    complete = [name for name, (there, wanted) in counts.items() if there == wanted]
    partly = [
        f"{name} ({there} of {wanted} files)"
        for name, (there, wanted) in counts.items()
        if 0 < there < wanted
    ]
    found = f"{root}, edition {edition}: {', '.join(complete) or 'no task'} complete"
    more = f"vlbench data check --edition {edition} --root {root} tells each file"
    if partly:
        found += f"; {', '.join(partly)}: {more}"
    remedy = "" if complete else f"{root}: no task of the edition {edition} is complete; {more}"
    other = "mini" if edition == "full" else "full"
    if not complete and any(_is_complete(card, root, other) for card in all_tasks()):
        remedy += f"; the edition {other} is there: --edition {other}"
    return Finding("data", bool(complete), found, remedy)


def _has(card: TaskCard, edition: str) -> bool:
    """Whether the task reads files of that edition below a root."""
    return edition in card.splits and not load_reader(card.reader, Path()).is_packaged


def _is_complete(card: TaskCard, root: Path, edition: str) -> bool:
    there, wanted = _count(card, root, edition) if _has(card, edition) else (0, 1)
    return there == wanted


def _count(card: TaskCard, root: Path, edition: str) -> tuple[int, int]:
    """How many of the annotation files that a run reads are there, and how many there should be."""
    reader = load_reader(card.reader, root)
    splits = next(splits for name, splits in card.splits.items() if name == edition)
    names = (*splits.train, *splits.val, *splits.test)
    files = {file for split in names for file in reader.files(split)}
    return sum(file.is_file() for file in files), len(files)
