"""Scenes of the mini world: one to five coloured shapes, each in a cell of a 4 x 4 grid."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

COLORS = (
    "red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "brown", "gray",
)  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star", "cross")
SIZES = ("small", "large")
GRID = 4

PARTS = ("pretraining", "train", "val", "test")
SHARES = (50, 30, 6, 14)
"""Percent of all possible scenes, and of all possible clips, that belong to each part."""


@dataclass(frozen=True, slots=True, order=True)
class Thing:
    """One shape in the picture; `row` 0 is the top, `column` 0 the left."""

    row: int
    column: int
    color: str
    shape: str
    size: str


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows, in reading order, and the seed of how it is drawn."""

    things: tuple[Thing, ...]
    look: int

    @property
    def part(self) -> str:
        """The one part this scene belongs to: a hash of what it shows, so parts never share one."""
        return part_of(repr([(t.row, t.column, t.color, t.shape, t.size) for t in self.things]))


def part_of(shown: str) -> str:
    """The part that whatever shows this belongs to, by its hash."""
    slot = int.from_bytes(hashlib.sha256(shown.encode()).digest()[:4], "big") % 100
    for part, share in zip(PARTS, SHARES, strict=True):
        slot -= share
        if slot < 0:
            return part
    raise AssertionError("SHARES add up to 100")


def _draw_things(random: Random) -> tuple[Thing, ...]:
    """One to five things; half of the scenes repeat a colour or a shape, so that counts vary."""
    cells = random.sample(
        range(GRID * GRID), random.choices((1, 2, 3, 4, 5), (6, 24, 32, 26, 12))[0]
    )
    theme = random.choice(("color", "shape", "", ""))
    color, shape = random.choice(COLORS), random.choice(SHAPES)
    things = []
    for cell in cells:
        repeats = random.random() < 0.7
        things.append(
            Thing(
                row=cell // GRID,
                column=cell % GRID,
                color=color if theme == "color" and repeats else random.choice(COLORS),
                shape=shape if theme == "shape" and repeats else random.choice(SHAPES),
                size=random.choice(SIZES),
            )
        )
    return tuple(sorted(things))


def scenes(part: str, random: Random) -> Iterator[Scene]:
    """Endless scenes of one part, none twice."""
    seen: set[tuple[Thing, ...]] = set()
    while True:
        scene = Scene(_draw_things(random), random.getrandbits(32))
        if scene.part == part and scene.things not in seen:
            seen.add(scene.things)
            yield scene
