"""Clips of the mini world: one to five shots after another, each of one thing, with subtitles.

A frame is a 64 x 64 picture of the thing somewhere on the grid; there is one every 1.5 seconds, as
in the features of VALUE. Some people of the world talk meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from vlbench.data.mini.world import GRID, SHAPES, SIZES, Scene, Thing, part_of

SECONDS_PER_FRAME = 1.5
COLORS = ("blue", "green", "pink", "red", "yellow")
"""Of all colours: as many as a question has choices."""
PEOPLE = ("Ann", "Lou", "Ray", "Al", "Theo")


@dataclass(frozen=True, slots=True)
class Shot:
    """One thing, and the frames that show it; where it is changes from frame to frame."""

    thing: Thing
    first: int
    """Its first frame, counted from 0."""
    frames: int

    @property
    def start(self) -> float:
        """Seconds from the clip's beginning."""
        return self.first * SECONDS_PER_FRAME

    @property
    def end(self) -> float:
        """Seconds from the clip's beginning."""
        return (self.first + self.frames) * SECONDS_PER_FRAME


@dataclass(frozen=True, slots=True)
class Line:
    """Somebody says what they think of a shot's thing, while it is shown."""

    speaker: str
    shot: Shot

    @property
    def record(self) -> dict[str, Any]:
        """As subtitle files have it: text from " Speaker : " on, seconds."""
        text = f" {self.speaker} : I like the {self.shot.thing.shape}."
        return {"text": text, "start": self.shot.start, "end": self.shot.end}


@dataclass(frozen=True, slots=True)
class Clip:
    """Shots in their order, what is said, and the seed of how it is drawn."""

    shots: tuple[Shot, ...]
    lines: tuple[Line, ...]
    look: int

    @property
    def things(self) -> list[Thing]:
        """What is shown, in its order."""
        return [shot.thing for shot in self.shots]

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.shots[-1].end

    @property
    def part(self) -> str:
        """The one part this clip belongs to, by what it shows in which order."""
        return part_of(repr([(t.color, t.shape, t.size) for t in self.things]))

    def frames(self) -> Iterator[Scene]:
        """A scene per frame; the thing drifts a cell at a time."""
        random = Random(self.look)
        for shot in self.shots:
            row, column = shot.thing.row, shot.thing.column
            for _ in range(shot.frames):
                thing = Thing(row, column, shot.thing.color, shot.thing.shape, shot.thing.size)
                yield Scene((thing,), random.getrandbits(32))
                row = _step(row, random)
                column = _step(column, random)


def _step(place: int, random: Random) -> int:
    return min(GRID - 1, max(0, place + random.choice((-1, 0, 1))))


@dataclass(frozen=True, slots=True)
class Style:
    """What clips of one source are like."""

    shots: tuple[int, ...]
    """How many shots a clip may have."""
    pace: tuple[int, ...]
    """How many frames its shots may have; all of a clip have as many."""


def clips(part: str, random: Random, style: Style) -> Iterator[Clip]:
    """Endless clips of one part, none twice; colours and shapes of a clip differ."""
    seen: set[tuple[Thing, ...]] = set()
    while True:
        clip = _draw(random.choice(style.shots), random.choice(style.pace), random)
        if clip.part == part and tuple(clip.things) not in seen:
            seen.add(tuple(clip.things))
            yield clip


def _draw(count: int, pace: int, random: Random) -> Clip:
    colors, shapes = random.sample(COLORS, count), random.sample(SHAPES, count)
    shots = []
    for number, (color, shape) in enumerate(zip(colors, shapes, strict=True)):
        row, column = random.randrange(GRID), random.randrange(GRID)
        thing = Thing(row, column, color, shape, random.choice(SIZES))
        shots.append(Shot(thing, number * pace, pace))
    speakers = random.sample(PEOPLE, 2)
    said = sorted(random.sample(range(count), min(count, random.choice((1, 2)))))
    lines = [Line(who, shots[at]) for who, at in zip(speakers, said, strict=False)]
    return Clip(tuple(shots), tuple(lines), random.getrandbits(32))
