"""What is read in pretraining, to repair: questions, answers, and captions of their own style."""

from __future__ import annotations

from functools import partial
from random import Random

from vlbench.data.mini.captions import NUMBERS, listed
from vlbench.data.mini.questions import (
    Family,
    Offer,
    Question,
    choose_attribute,
    choose_side,
    combine,
    how_many,
    is_there,
    named,
    query_attribute,
    verify_attribute,
    what_color,
    what_shape,
    yes_or_no,
)
from vlbench.data.mini.world import COLORS, KINDS, SHAPES, SIZES, Scene, Thing, article


def _two(scene: Scene, random: Random) -> tuple[Thing, Thing, str, str] | None:
    """Two things and what they are called."""
    one, other = named(scene, random), named(scene, random)
    if one is None or other is None or one[0] == other[0]:
        return None
    return one[0], other[0], one[2], other[2]


def _relate(scene: Scene, random: Random) -> Offer:
    """Whether one thing is on a given side of another."""
    if (two := _two(scene, random)) is None:
        return None
    one, other, first, second = two
    across, down = other.column - one.column, other.row - one.row
    offers = [("to the left of", across > 0), ("to the right of", across < 0)] if across else []
    offers += [("above", down > 0), ("below", down < 0)] if down else []
    way, holds = random.choice(offers)
    subject = random.choice((f"Is the {first}", f"Is there {article(first)}"))
    return Question("verify relation", way, f"{subject} {way} the {second}?", yes_or_no(holds))


def _compare(scene: Scene, random: Random) -> Offer:
    """Whether two things have an attribute in common."""
    if (two := _two(scene, random)) is None:
        return None
    one, other, first, second = two
    aspect = random.choice(KINDS)
    wordings = (
        f"Do the {first} and the {second} have the same {aspect}?",
        f"Are the {first} and the {second} the same {aspect}?",
    )
    holds = getattr(one, aspect) == getattr(other, aspect)
    return Question(f"same {aspect}", aspect, random.choice(wordings), yes_or_no(holds))


QUESTIONS: tuple[Family, ...] = (
    what_color,
    what_shape,
    how_many,
    is_there,
    query_attribute,
    verify_attribute,
    choose_attribute,
    choose_side,
    _relate,
    _compare,
    partial(combine, may_tell=True),
)
"""The kinds of question whose words are read; only their words, so these may tell the answer."""


def _side(thing: Thing) -> str:
    """A rough place in words."""
    vertical = "top" if thing.row == 0 else "bottom" if thing.row == 3 else ""
    horizontal = "left" if thing.column == 0 else "right" if thing.column == 3 else ""
    return " ".join(part for part in (vertical, horizontal) if part) or "middle"


def _plain(scene: Scene, random: Random) -> str:
    names = [article(f"{t.size} {t.color} {t.shape}") for t in scene.things[:3]]
    return listed(names)


def _colors(scene: Scene, random: Random) -> str:
    return (
        listed([article(f"{t.color} {t.shape}") for t in scene.things[:4]])
        + " on a light background"
    )


def _placed(scene: Scene, random: Random) -> str:
    thing = max(scene.things, key=lambda t: (t.size == "large", -t.row, -t.column))
    name = article(f"{thing.size} {thing.color} {thing.shape}")
    return f"there is {name} at the {_side(thing)} of the picture"


def _counted(scene: Scene, random: Random) -> str:
    number = len(scene.things)
    names = [f"{t.color} {t.shape}" for t in scene.things[:2]]
    shapes = "shape" if number == 1 else "shapes"
    return f"{NUMBERS[number]} {shapes} with {listed([article(n) for n in names])}"


def _pair(scene: Scene, random: Random) -> str:
    one, other = scene.things[0], scene.things[-1]
    way = "above" if one.row < other.row else "next to"
    return f"{article(f'{one.color} {one.shape}')} {way} {article(f'{other.color} {other.shape}')}"


def captions(scene: Scene, random: Random) -> list[str]:
    """Five captions, in a random order, as sentences with a capital and a full stop."""
    written = [way(scene, random) for way in (_plain, _colors, _placed, _counted, _pair)]
    random.shuffle(written)
    return [caption[0].upper() + caption[1:] + "." for caption in written]


ANSWERS = (
    "yes", "no", "true", "false", "left", "right", "top", "bottom", *"0123456",
    *COLORS, *SHAPES, *SIZES,
)  # fmt: skip


def told_answer(random: Random) -> str:
    """A sentence with an answer and no question."""
    wordings = ("So it is {}.", "The answer is {}.", "I would say {}.", "{}, they said.")
    return random.choice(wordings).format(random.choice(ANSWERS))
