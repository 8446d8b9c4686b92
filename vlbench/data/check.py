"""What of a dataset is available, split by split: files, examples, pictures, features, faults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlbench.cards.schema import Edition, TaskCard
from vlbench.data.faults import SHOWN
from vlbench.data.images import find_pictures, frame_files, open_image
from vlbench.data.prepare import Wanted, find_features, scored_splits, wrong_grid
from vlbench.data.readers import load_reader
from vlbench.data.readers.base import Reader
from vlbench.data.table import ExampleTable, indexed
from vlbench.errors import DataError, MissingError
from vlbench.files import packed_beside

Say = Callable[[str], None]


@dataclass
class SplitCheck:
    """One split of a task."""

    task: str
    split: str
    is_needed: bool
    """Whether a run reads it; a split to submit is answered only where it exists."""
    files: dict[str, bool] = field(default_factory=dict)
    """Annotation file -> whether it exists."""
    examples: int | None = None
    """None: they could not be read."""
    expected: int | None = None
    """Examples that the official files have; None where that is not known."""
    counts: dict[str, int] = field(default_factory=dict)
    """Further counts of the dataset, such as NLVR2's consistency groups."""
    pictures: int = 0
    """Pictures, or clips, that the examples want."""
    pictures_missing: int = 0
    are_pictures_unread: bool = True
    """Where there are features, nothing needs the pictures."""
    features: str = ""
    """Where its features lie; empty: nowhere."""
    features_missing: int = 0
    problems: list[str] = field(default_factory=list)
    """Everything that is wrong; messages list the first ten."""

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
    """Read, count and open the pictures of every split of every task that the edition reads."""
    checks = []
    for card in cards:
        reader = load_reader(card.reader, root)
        needed = dict.fromkeys(scored_splits(card, edition), True)
        for split in [*needed, *card.splits[edition].submission]:
            check = check_split(card, split, split in needed, reader, wanted, say)
            check.expected = card.sizes.get(split) if edition == "full" else None
            checks.append(check)
    return checks


def check_split(
    card: TaskCard, split: str, is_needed: bool, reader: Reader, wanted: Wanted, say: Say
) -> SplitCheck:
    """Check one split; no problem stops the search for more."""
    check = SplitCheck(card.name, split, is_needed)
    missing = reader.missing_files(split)
    check.files = {str(file): file not in missing for file in reader.files(split)}
    published = f" (published at {card.published})" if card.published else ""
    check.problems += [f"no file {file}{packed_beside(file)}{published}" for file in missing]
    if missing:
        return check
    say(f"{card.name}: reading {split}")
    try:
        examples = indexed(reader, split, train=False)
    except DataError as error:
        check.problems += str(error).splitlines()
        return check
    check.examples, check.counts = len(examples), reader.counts(examples)
    try:
        _check_visual(check, card, reader, examples, wanted, say)
    except MissingError as error:
        check.problems += str(error).splitlines()
    return check


def _check_visual(
    check: SplitCheck,
    card: TaskCard,
    reader: Reader,
    examples: ExampleTable,
    wanted: Wanted,
    say: Say,
) -> None:
    """The features of a split, or where there are none the pictures they could be made of."""
    is_video = card.visual == "video"
    images, unit = examples.images(), "clips" if is_video else "pictures"
    check.pictures = len(images)
    store, features = find_features(reader, wanted)
    if store is not None:
        missing = store.missing(images)
        check.features, check.features_missing = str(store.path), len(missing)
        check.problems += [f"no features of {image} in {store.path}" for image in missing]
        if not missing and not is_video:
            check.problems += wrong_grid(store, images[0], wanted)
        return
    check.features_missing = len(images)
    paths, faults = find_pictures(reader, examples)
    if paths:
        say(f"{card.name}: opening {len(paths):,} {unit} of {check.split}")
    unreadable = _unreadable(paths.values(), is_video)
    check.pictures_missing = len(faults.texts) + len(unreadable)
    check.are_pictures_unread = False
    if not check.pictures_missing:
        wanted.load()
        return
    looked_for = ", ".join(map(str, features)) or "no place of its own"
    check.problems.append(
        f"no features of the encoder '{wanted.encoder}' of {len(images):,} {unit}: looked for "
        f"{looked_for}"
    )
    if paths:
        check.problems += faults.texts + unreadable
    else:
        check.problems.append(
            f"none of {len(images):,} {unit} is there; the first: {faults.texts[0]}"
        )


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
