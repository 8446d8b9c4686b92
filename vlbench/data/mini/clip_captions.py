"""Captions of the mini TVC, which describe a moment, and YC2C, which tell the steps of a clip."""

from __future__ import annotations

from random import Random

from vlbench.data.mini.clips import Clip, Shot
from vlbench.data.mini.referring import article
from vlbench.data.mini.world import Thing

OPENINGS = ("", "there is ", "you can see ")
ENDINGS = ("", " in the middle of the picture", " on a light background")


def _named(thing: Thing, has_size: bool) -> str:
    size = f"{thing.size} " if has_size else ""
    return article(f"{size}{thing.color} {thing.shape}")


def describe(shot: Shot, count: int, random: Random) -> list[str]:
    """`count` different descriptions of what a shot shows, as people give them."""
    written: dict[str, None] = {}
    while len(written) < count:
        opening = random.choice(OPENINGS)
        text = opening + _named(shot.thing, random.random() < 0.5)
        written[text[0].upper() + text[1:] + "."] = None
    return list(written)


def steps(clip: Clip) -> str:
    """All that a clip shows in its order, lower case, no full stop: `take a red star then ...`."""
    return "take " + " then ".join(_named(thing, has_size=False) for thing in clip.things)
