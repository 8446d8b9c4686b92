"""What a run reads: edition, data root, and the visual features that its backbone takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from vlbench.backbones import Features, Visual, backbone_row
from vlbench.cards.schema import Edition, TaskCard
from vlbench.data.mini.edition import mini_root
from vlbench.data.prepare import PreparedTask, Wanted
from vlbench.data.readers import load_reader
from vlbench.encoders import ENCODERS, load_encoder
from vlbench.errors import DataError, UsageError, nearest

Say = Callable[[str], None]
NO_ROOT = Path(".")
"""The data root of datasets that are Python packages."""


def task_edition(cards: Sequence[TaskCard], asked: str | None) -> Edition:
    """The edition asked for; else mini, or the only one that all tasks have."""
    shared = [name for name in cards[0].editions if all(name in card.splits for card in cards)]
    if asked is not None:
        for card in cards:
            if asked not in card.splits:
                known = ", ".join(card.splits)
                raise UsageError(f"Task '{card.name}' has no edition '{asked}'. Known: {known}.")
        return next(name for name in shared if name == asked)
    if "mini" in shared:
        return "mini"
    if len(shared) == 1:
        return shared[0]
    raise UsageError(
        f"Tasks {', '.join(c.name for c in cards)} share no edition: name fewer tasks."
    )


def data_root(
    cards: Sequence[TaskCard], edition: str, asked: Path | None, say: Say = lambda _: None
) -> Path:
    """The folder that holds the data; the mini edition is made on its first use.

    Datasets that come as a Python package need none.
    """
    if asked is not None:
        return asked.expanduser().resolve()
    if edition == "mini":
        return mini_root(
            cards[0].visual, lambda what: say(f"making the mini edition, first use: {what}")
        )
    readers = [load_reader(card.reader, NO_ROOT) for card in cards]
    if all(reader.is_packaged for reader in readers):
        return NO_ROOT
    raise UsageError(f"--edition {edition} reads the official files: --root says where they lie.")


def features_read(
    backbone: str, visual: Visual, encoder: str, tasks: Sequence[PreparedTask]
) -> Features:
    """What the backbone reads: its own features, or those of `encoder` as they were found."""
    own = backbone_row(backbone).features[visual]
    widths = {task.card.name: task.store.width for task in tasks}
    if len(set(widths.values())) > 1:
        told = ", ".join(f"{task} {width}" for task, width in widths.items())
        raise DataError(f"The features of tasks that train together differ in width: {told}.")
    return own.of(encoder, tasks[0].store.width) if encoder else own


def other_encoder(backbone: str, visual: Visual, asked: str | None) -> str:
    """The encoder asked for where it is not the backbone's own; else nothing."""
    if asked in (None, "", backbone_row(backbone).features[visual].encoder):
        return ""
    return str(asked)


def wanted_features(
    backbone: str,
    visual: Visual,
    encoder: str,
    folders: tuple[Path, ...],
    device: str = "cpu",
) -> Wanted:
    """The features to look for, of the backbone's own encoder or of another one."""
    own = backbone_row(backbone).features[visual]
    name = encoder or own.encoder
    if name not in ENCODERS and ":" not in name and not folders:
        raise UsageError(
            f"Unknown encoder '{name}'. {nearest(name, ENCODERS)} Your own is named "
            '"module:function"; features that are there are named with --features.'
        )
    return Wanted(
        encoder=name,
        tokens=own.tokens,
        width=own.width if name == own.encoder else None,
        load=cache(lambda: load_encoder(name, device=device)),
        folders=folders,
    )
