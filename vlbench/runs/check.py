"""What `vlbench data check` says of tasks: what is there, and what a run would miss.

Of your own data also what a run would not stop at: the majority answer's score, and keys that no
example is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlbench.cards.schema import Edition, TaskCard
from vlbench.data.images import open_clip, open_image, shared_pictures
from vlbench.data.pictures import PictureSpec
from vlbench.data.prepare import FeatureSpec, find_visuals, scored_splits
from vlbench.data.readers import card_reader
from vlbench.data.readers.base import Reader
from vlbench.data.readers.own import OwnData
from vlbench.data.table import ExampleTable, concatenate, indexed
from vlbench.errors import MissingError
from vlbench.runs.result import NO_MAJORITY, majority_answers, most_frequent, score

Say = Callable[[str], None]


@dataclass
class Split:
    """A split that was read, and what is said of it."""

    item: dict[str, Any]
    examples: ExampleTable = field(default_factory=lambda: concatenate([]))


def check_tasks(
    cards: Sequence[TaskCard],
    edition: Edition,
    root: Path,
    spec: FeatureSpec | PictureSpec,
    say: Say,
) -> list[dict[str, Any]]:
    """What is there of every split that an edition reads, and all that a run would miss of it.

    A split that is only answered for a server may be missing. No problem stops the search for more.
    """
    items = []
    for card in cards:
        reader, needed = card_reader(card, root), scored_splits(card, edition)
        splits = {}
        for name in dict.fromkeys([*needed, *card.splits[edition].submission]):
            say(f"{card.name}: reading {name}")
            splits[name] = split = _check_split(card, reader, name, edition, spec)
            split.item["published"] = card.sizes.get(name) if edition == "full" else None
        if isinstance(reader, OwnData):
            train = concatenate([splits[name].examples for name in card.splits[edition].train])
            best = most_frequent(train) if card.metric not in NO_MAJORITY else {}
            images = {name: split.examples.images() for name, split in splits.items()}
            shared = shared_pictures(reader, images)
            for name, split in splits.items():
                is_meant = reader.named.may_share_pictures
                texts = [
                    f"the same picture is in two splits: {text}" for text in shared.get(name, ())
                ]
                split.item["remarks" if is_meant else "problems"] += texts
                _remark(card, reader, best, name, split)
        for name, split in splits.items():
            split.item["ready"] = not split.item["problems"] or name not in needed
            items.append(split.item)
    return items


def _check_split(
    card: TaskCard, reader: Reader, name: str, edition: Edition, spec: FeatureSpec | PictureSpec
) -> Split:
    """Read a split and open its pictures; all that is wrong is among its problems."""
    opener: Callable[[Path], Any] = open_clip if card.visual == "video" else open_image
    item: dict[str, Any] = {"task": card.name, "split": name}
    item |= dict.fromkeys(("examples", "published", "pictures", "features", "majority"))
    split = Split(item | {"remarks": []})
    problems: list[str] = []
    try:
        problems += [f"no file {file}" for file in reader.missing_files(name)]
        if problems and card.published:
            command = f"; vlbench data get {card.name} --root DIR" if card.downloads else ""
            problems.append(f"{card.name} is published at {card.published}{command}")
        if not problems:
            own = card.splits[edition]
            is_trained_on = name in own.train and name not in {*own.val, *own.test}
            is_same = type(reader).training_examples is Reader.training_examples
            # as a run reads it, where that has as many examples and nothing is scored on it
            without_records = is_trained_on and is_same and not isinstance(reader, OwnData)
            split.examples = examples = indexed(reader, name, train=without_records)
            split.item |= {"examples": len(examples), "pictures": len(examples.images())}
            store, pictures, problems = find_visuals(card, reader, examples, spec)
            split.item["features"] = str(store.path) if store else None
            for image, path in pictures.items():
                try:
                    opener(path)
                except MissingError as error:
                    origin = reader.origin(image)
                    problems.append(f"{error} (named in {origin})" if origin else str(error))
    except MissingError as error:
        problems += str(error).splitlines()
    split.item["problems"] = problems
    return split


def _remark(
    card: TaskCard, reader: OwnData, best: Mapping[str, str], name: str, split: Split
) -> None:
    """Add what a run would not stop at to a split's item; `best`: the majority answers."""
    item, remarks, examples = split.item, split.item["remarks"], split.examples
    if best and examples:
        answers = majority_answers(best, examples)
        answer, scored = next(iter(answers.values())), score(card, examples, answers)
        item["majority"] = {"answer": answer, card.main_metric: scored.metrics[card.main_metric]}
        value = scored.metrics[card.main_metric]
        remarks.append(
            f"always {answer!r}, the majority answer, has {card.main_metric} {value:.1f}"
        )
    if examples and (unread := reader.unread(name)):
        keys = ", ".join(f"{key} ({count:,} records)" for key, count in sorted(unread.items()))
        remarks.append(f"keys that are not read: {keys}")
