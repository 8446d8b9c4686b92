"""What of a dataset is available, split by split: files, examples, pictures, features, faults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlbench.cards.schema import Edition, TaskCard
from vlbench.data.example import SHOWN
from vlbench.data.images import find_pictures, frame_files, open_image
from vlbench.data.prepare import FeatureSpec, find_features, require_grid, scored_splits
from vlbench.data.readers import load_reader
from vlbench.data.readers.base import Reader
from vlbench.data.table import ExampleTable, indexed
from vlbench.errors import MissingError

Say = Callable[[str], None]


@dataclass
class SplitCheck:
    """One split of a task."""

    task: str
    split: str
    is_needed: bool  # whether a run reads it; a split to submit is answered only where it exists
    files: dict[str, bool] = field(default_factory=dict)  # annotation file -> whether it exists
    examples: int | None = None  # None: they could not be read
    expected: int | None = None
    """Examples that the official files have; None where that is not known."""
    counts: dict[str, int] = field(default_factory=dict)
    """Further counts of the dataset, such as NLVR2's consistency groups."""
    pictures: int = 0  # pictures, or clips, that the examples want
    pictures_missing: int = 0
    are_pictures_unread: bool = True  # where there are features, nothing needs the pictures
    features: str = ""  # where its features lie; empty: nowhere
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
    cards: Sequence[TaskCard], edition: Edition, root: Path, spec: FeatureSpec, say: Say
) -> list[SplitCheck]:
    """Read, count and open the pictures of every split of every task that the edition reads.

    No problem stops the search for more.
    """
    checks = []
    for card in cards:
        reader = load_reader(card.reader, root)
        needed = scored_splits(card, edition)
        for split in dict.fromkeys([*needed, *card.splits[edition].submission]):
            check = SplitCheck(card.name, split, split in needed)
            check.expected = card.sizes.get(split) if edition == "full" else None
            checks.append(check)
            missing = reader.missing_files(split)
            check.files = {str(file): file not in missing for file in reader.files(split)}
            published = f" (published at {card.published})" if card.published else ""
            check.problems += [f"no file {f}{published}" for f in missing]
            if missing:
                continue
            say(f"{card.name}: reading {split}")
            try:
                examples = indexed(reader, split, train=False)
                check.examples, check.counts = len(examples), reader.counts(examples)
                _check_visual(check, card.visual == "video", reader, examples, spec, say)
            except MissingError as error:
                check.problems += str(error).splitlines()
    return checks


def _check_visual(
    check: SplitCheck,
    is_video: bool,
    reader: Reader,
    examples: ExampleTable,
    spec: FeatureSpec,
    say: Say,
) -> None:
    """The features of a split, or where there are none the pictures they could be made of."""
    images, unit = examples.images(), "clips" if is_video else "pictures"
    check.pictures = check.features_missing = len(images)
    store, candidates = find_features(reader, spec)
    if store is not None:
        missing = store.missing(images)
        check.features, check.features_missing = str(store.path), len(missing)
        check.problems += [f"no features of {image} in {store.path}" for image in missing]
        if not missing and not is_video:
            require_grid(store, images[0], spec)
        return
    paths, faults = find_pictures(reader, examples)
    if paths:
        say(f"{check.task}: opening {len(paths):,} {unit} of {check.split}")
    problems = faults.texts + _unreadable(paths.values(), is_video)
    check.pictures_missing, check.are_pictures_unread = len(problems), False
    if not problems:
        spec.load()
        return
    looked_for = ", ".join(map(str, candidates)) or "no place of its own"
    check.problems.append(
        f"no features of the encoder '{spec.encoder}' of {len(images):,} {unit}: looked for "
        f"{looked_for}"
    )
    if not paths:
        problems = [f"none of {len(images):,} {unit} is there; the first: {problems[0]}"]
    check.problems += problems


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
