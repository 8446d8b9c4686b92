"""What of a dataset is there, split by split: files, examples, pictures, features, faults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlbench.cards.schema import Edition, TaskCard
from vlbench.data.clips import frame_files
from vlbench.data.faults import SHOWN
from vlbench.data.images import open_image
from vlbench.data.index import indexed
from vlbench.data.pictures import find_pictures
from vlbench.data.readers import load_reader
from vlbench.data.readers.base import Reader, missing_data
from vlbench.data.table import ExampleTable
from vlbench.data.visual import Wanted, find_features, wrong_grid
from vlbench.errors import DataError, MissingError
from vlbench.packed_files import packed_beside

Say = Callable[[str], None]


@dataclass
class SplitCheck:
    """One split of a task as it was found."""

    task: str
    split: str
    is_needed: bool
    """Whether a run reads it; a split to submit is answered only where it is there."""
    files: dict[str, bool] = field(default_factory=dict)
    """Annotation file -> whether it is there."""
    examples: int | None = None
    """None: they could not be read."""
    expected: int | None = None
    """Examples that the official files have; None where that is not known."""
    counts: dict[str, int] = field(default_factory=dict)
    """What else the dataset counts, such as NLVR2's consistency groups."""
    pictures: int = 0
    """Pictures, or clips, that the examples want."""
    pictures_missing: int = 0
    are_pictures_unread: bool = True
    """Where there are features, nothing needs the pictures."""
    features: str = ""
    """Where its features lie; empty: nowhere."""
    features_missing: int = 0
    problems: list[str] = field(default_factory=list)
    """Everything that is wrong; messages show the first ten."""

    @property
    def is_ready(self) -> bool:
        """Whether a run could read it."""
        return not self.problems or not self.is_needed

    def as_json(self) -> dict[str, Any]:
        """An item of `vlbench data check --json`."""
        item = {**vars(self), "problem_count": len(self.problems), "ready": self.is_ready}
        return {**item, "problems": self.problems[:SHOWN]}


def check_tasks(
    cards: Sequence[TaskCard], edition: Edition, root: Path, wanted: Wanted, say: Say
) -> list[SplitCheck]:
    """Every split of every task that the edition reads: read, counted, its pictures opened."""
    found = []
    for card in cards:
        reader = load_reader(card.reader, root)
        splits = card.splits[edition]
        needed = dict.fromkeys([*splits.train, *splits.val, *splits.test], True)
        for split in [*needed, *splits.submission]:
            each = check_split(card, split, split in needed, reader, wanted, say)
            each.expected = card.sizes.get(split) if edition == "full" else None
            found.append(each)
    return found


def check_split(
    card: TaskCard, split: str, is_needed: bool, reader: Reader, wanted: Wanted, say: Say
) -> SplitCheck:
    """One split; nothing that is found stops the search for more."""
    found = SplitCheck(card.name, split, is_needed)
    missing = reader.missing_files(split)
    found.files = {str(file): file not in missing for file in reader.files(split)}
    published = f" (published at {card.published})" if card.published else ""
    found.problems += [f"no file {file}{packed_beside(file)}{published}" for file in missing]
    if missing:
        return found
    say(f"{card.name}: reading {split}")
    try:
        examples = indexed(reader, split, train=False)
    except DataError as error:
        found.problems += str(error).splitlines()
        return found
    found.examples = len(examples)
    found.counts = reader.counts(examples)
    _check_visual(found, card, reader, examples, wanted, say)
    return found


def _check_visual(
    found: SplitCheck,
    card: TaskCard,
    reader: Reader,
    examples: ExampleTable,
    wanted: Wanted,
    say: Say,
) -> None:
    """The features of a split, or where there are none the pictures they could be made of."""
    images = examples.images()
    unit = "clips" if card.visual == "video" else "pictures"
    found.pictures = len(images)
    try:
        store, places = find_features(reader, wanted)
    except MissingError as error:
        found.problems += str(error).splitlines()
        return
    if store is not None:
        missing = store.missing(images)
        found.features, found.features_missing = str(store.path), len(missing)
        found.problems += [f"no features of {image} in {store.path}" for image in missing]
        if not missing and card.visual == "image":
            found.problems += wrong_grid(store, images[0], wanted)
        return
    found.features_missing = len(images)
    paths, faults = find_pictures(reader, examples)
    if paths:
        say(f"{card.name}: opening {len(paths):,} {unit} of {found.split}")
    unreadable = _unreadable(paths.values(), card.visual == "video")
    found.pictures_missing = len(faults.texts) + len(unreadable)
    found.are_pictures_unread = False
    if not found.pictures_missing:
        try:
            wanted.load()
        except MissingError as error:
            found.problems += str(error).splitlines()
        return
    looked = ", ".join(map(str, places)) or "no place of its own"
    found.problems.append(
        f"no features of the encoder '{wanted.encoder}' of {len(images):,} {unit}: looked for "
        f"{looked}"
    )
    if not paths:
        found.problems.append(
            f"none of {len(images):,} {unit} is there; the first: {faults.texts[0]}"
        )
        return
    found.problems += faults.texts + unreadable


def _unreadable(paths: Iterable[Path], is_video: bool) -> list[str]:
    """What is wrong with pictures, or with the frames of clips, that cannot be decoded."""
    texts = []
    for path in paths:
        try:
            for file in frame_files(path) if is_video else [path]:
                open_image(file)
        except MissingError as error:
            texts.append(str(error))
    return texts


def require_files(wanted: Iterable[tuple[Reader, str]]) -> None:
    """Refuse if annotation files of any (reader, split) are missing, all named in one message."""
    missing = [file for reader, split in wanted for file in reader.missing_files(split)]
    if missing:
        raise missing_data(missing)
