"""Statements about pairs of pictures of the mini world, as NLVR2 has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from vlbench.data.mini.world import COLORS, SHAPES, Kind, Scene

Check = Callable[[int, int], bool]
"""Whether it holds of how many things of a kind this picture shows, and the other."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence about two pictures."""

    family: str
    text: str
    kind: Kind
    side: int  # 0: `this` picture is the left one
    check: Check

    def holds(self, left: Scene, right: Scene) -> bool | None:
        """Whether it is true of a pair; None where neither picture shows the kind.

        Were such pairs kept, "it is somewhere" would tell the answer.
        """
        counts = self.kind.count(left), self.kind.count(right)
        return self.check(counts[self.side], counts[1 - self.side]) if any(counts) else None


STATEMENTS: dict[str, tuple[tuple[str, ...], Callable[[int], Check]]] = {
    "both": (
        (
            "Both images contain a {name}.", "There is a {name} in each image.",
            "A {name} can be seen in both pictures.",
        ),
        lambda number: lambda this, other: this > 0 and other > 0,
    ),
    "only one": (
        ("Only one of the images contains a {name}.", "Exactly one image has a {name} in it."),
        lambda number: lambda this, other: (this > 0) != (other > 0),
    ),
    "one side": (
        (
            "The {side} image contains a {name}.", "There is a {name} in the {side} image.",
            "At least one {name} is in the image on the {side}.",
        ),
        lambda number: lambda this, other: this > 0,
    ),
    "exact number": (
        (
            "The {side} image shows exactly {number}.",
            "There {verb} exactly {number} in the {side} image.",
        ),
        lambda number: lambda this, other: this == number,
    ),
    "more": (
        (
            "The {side} image has more {names} than the other one.",
            "There are more {names} on the {side} than on the {other}.",
        ),
        lambda number: lambda this, other: this > other,
    ),
}  # fmt: skip
"""Family -> its wordings, and what they mean for a number."""


def statement(random: Random) -> Statement:
    """A sentence about two pictures, of a kind wide enough that pairs often differ in it."""
    kind = random.choice((Kind(shape=random.choice(SHAPES)), Kind(color=random.choice(COLORS))))
    name, names = kind.name("shape"), kind.name("shape", plural=True)
    number, side = random.choice((1, 1, 2)), random.randrange(2)
    family, (wordings, meaning) = random.choice(tuple(STATEMENTS.items()))
    verb, amount = ("is", f"one {name}") if number == 1 else ("are", f"two {names}")
    sides = {"side": ("left", "right")[side], "other": ("right", "left")[side]}
    text = random.choice(wordings)
    text = text.format(name=name, names=names, number=amount, verb=verb, **sides)
    for vowel in "aeiou":
        text = text.replace(f" a {vowel}", f" an {vowel}")
    text = text[0].upper() + text[1:].replace("A an ", "An ")
    return Statement(family, text, kind, side, meaning(number))
