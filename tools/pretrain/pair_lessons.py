"""Lessons about two pictures: which is which, and how they compare."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tools.pretrain.lessons import NUMBERS, Lesson, lesson, verdict
from vlbench.data.mini.world import Kind, Scene, kind_of

SHEETS = (
    ("opening sheet", "closing sheet"),
    ("sheet one", "sheet two"),
    ("left sheet", "right sheet"),
)
"""What a lesson calls the two canvases of a pair."""


def pair_lesson(pair: Sequence[Scene], random: Random) -> Lesson:
    """A lesson about one of two canvases, or a comparison of the two."""
    if random.random() < 0.3:
        side = random.randrange(2)
        taught = lesson(pair[side], random)
        text = f"{random.choice(SHEETS)[side]} , {taught.text}"
        return Lesson(f"pair {taught.skill}", text, taught.reply)
    teachers = (_pair_tally, _pair_seek, _pair_claim, _pair_claim, _pair_claim)
    return random.choice(teachers)(pair, random)


def _shared_kind(pair: Sequence[Scene], random: Random) -> Kind:
    """A kind that at least one of the two shows."""
    mixes = (("shape",), ("color",), ("shape",), ("color",), ("color", "shape"), ("size", "shape"))
    return kind_of(random.choice(pair[random.randrange(2)].things), random.choice(mixes))


def _pair_tally(pair: Sequence[Scene], random: Random) -> Lesson:
    kind = _shared_kind(pair, random)
    one, two = (NUMBERS[kind.count(scene)] for scene in pair)
    name = kind.name("item", plural=True)
    return Lesson("pair tally", f"tally {name} on either sheet", f"{one} then {two}")


def _pair_seek(pair: Sequence[Scene], random: Random) -> Lesson:
    kind, sheets = _shared_kind(pair, random), random.choice(SHEETS)
    is_shown = [kind.count(scene) > 0 for scene in pair]
    reply = "on either" if all(is_shown) else sheets[is_shown.index(True)]
    return Lesson("pair seek", f"{' or '.join(sheets)} for {kind.name('item')}", reply)


def _pair_claim(pair: Sequence[Scene], random: Random) -> Lesson:
    """A claim about both sheets, about one of them, or that compares them.

    The kind is on one of them at least, so that "it is somewhere" says nothing.
    """
    is_true = random.random() < 0.5
    while True:
        kind, sheets, side = _shared_kind(pair, random), random.choice(SHEETS), random.randrange(2)
        this, other = (kind.count(scene) for scene in (pair[side], pair[1 - side]))
        name, names = kind.name("item"), kind.name("item", plural=True)
        number = random.choice((1, 1, 2, 2, 3))
        statements = {
            f"either sheet has {name}": this > 0 and other > 0,
            f"a single sheet has {name}": (this > 0) != (other > 0),
            f"{sheets[side]} has {name}": this > 0,
            f"no {name} on {sheets[side]}": this == 0,
            f"{sheets[side]} has {NUMBERS[number]} of {name}": this == number,
            f"{sheets[side]} beats {sheets[1 - side]} in {names}": this > other,
            f"equal tally of {names}": this == other,
        }
        statement = random.choice(tuple(statements))
        if statements[statement] == is_true:
            return verdict("pair claim", statement, is_true, random)
