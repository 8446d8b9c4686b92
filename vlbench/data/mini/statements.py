"""Statements of the mini NLVR2: true or false of a pair of pictures.

A sentence comes with up to four pairs, true of half of them, so that the sentence alone says
nothing about its label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from vlbench.data.mini.referring import Kind
from vlbench.data.mini.world import COLORS, SHAPES, Scene

Check = Callable[[Scene, Scene], bool]
_NUMBERS = ("no", "one", "two", "three", "four")


def _kind(random: Random) -> Kind:
    """A kind wide enough that pairs of pictures often differ in it."""
    return random.choice((Kind(shape=random.choice(SHAPES)), Kind(color=random.choice(COLORS))))


def statement(random: Random) -> tuple[str, Check]:
    """A sentence and whether it holds for (left, right)."""
    kind = _kind(random)
    name, names = kind.name("shape"), kind.name("shape", plural=True)
    number = random.choice((1, 1, 2))
    counted = f"{_NUMBERS[number]} {name if number == 1 else names}"
    side = random.randrange(2)
    place = ("left", "right")[side]

    def has(scene: Scene) -> bool:
        return kind.count(scene) > 0

    def in_both(left: Scene, right: Scene) -> bool:
        return has(left) and has(right)

    def in_one(left: Scene, right: Scene) -> bool:
        return has(left) != has(right)

    def on_side(left: Scene, right: Scene) -> bool:
        return has((left, right)[side])

    def exactly(left: Scene, right: Scene) -> bool:
        return kind.count((left, right)[side]) == number

    def more(left: Scene, right: Scene) -> bool:
        counts = kind.count(left), kind.count(right)
        return counts[side] > counts[1 - side]

    verb, other = "is" if number == 1 else "are", ("right", "left")[side]
    offers: Sequence[tuple[Sequence[str], Check]] = (
        (
            (
                f"Both images contain a {name}.",
                f"There is a {name} in each image.",
                f"A {name} can be seen in both pictures.",
            ),
            in_both,
        ),
        (
            (
                f"Only one of the images contains a {name}.",
                f"Exactly one image has a {name} in it.",
            ),
            in_one,
        ),
        (
            (
                f"The {place} image contains a {name}.",
                f"There is a {name} in the {place} image.",
                f"At least one {name} is in the image on the {place}.",
            ),
            on_side,
        ),
        (
            (
                f"The {place} image shows exactly {counted}.",
                f"There {verb} exactly {counted} in the {place} image.",
            ),
            exactly,
        ),
        (
            (
                f"The {place} image has more {names} than the other one.",
                f"There are more {names} on the {place} than on the {other}.",
            ),
            more,
        ),
    )
    wordings, check = random.choice(offers)
    text = random.choice(wordings)
    for vowel in "aeiou":
        text = text.replace(f" a {vowel}", f" an {vowel}")
    return text[0].upper() + text[1:].replace("A an ", "An "), check
