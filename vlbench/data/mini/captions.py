"""Captions of pictures of the mini world: lists, relations, numbers and places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

from vlbench.data.mini.world import Kind, Scene, Thing, article, kind_of

NOUNS = ("thing", "object", "shape")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
OPENINGS = ("there is ", "you can see ", "a picture with ", "an image of ")
RARELY = 0.2
"""How often a list has an opening, or another length than most: else a model's words are luck."""


def captions(scene: Scene, random: Random) -> list[str]:
    """Five different captions by five people, each in words of their own."""
    texts: dict[str, None] = {}
    while len(texts) < 5:
        text = random.choice(CAPTIONS)(scene, random)
        texts[text[0].upper() + text[1:] + random.choice((".", ".", ".", ""))] = None
    return list(texts)


def _noted(scene: Scene, random: Random, count: int) -> list[Thing]:
    """What people notice, in reading order: large things sooner, others by chance."""
    ranked = sorted(scene.things, key=lambda thing: random.random() + (thing.size != "large"))
    return sorted(ranked[:count])


def _described(thing: Thing, random: Random) -> str:
    """A thing as exactly as people are: `a red thing`."""
    size = f"{thing.size} " if random.random() < 0.35 else ""
    color = f"{thing.color} " if random.random() < 0.9 else ""
    noun = thing.shape if random.random() < 0.85 else random.choice(NOUNS)
    return article(f"{size}{color}{noun}")


def listed(names: Sequence[str]) -> str:
    """`a star, a cross and a circle`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _as_list(scene: Scene, random: Random) -> str:
    count = 2 if len(scene.things) < 4 else 3
    if random.random() < RARELY:
        count = 5 - count
    opening = random.choice(OPENINGS) if random.random() < RARELY else ""
    return opening + listed([_described(t, random) for t in _noted(scene, random, count)])


def _as_relation(scene: Scene, random: Random) -> str:
    one, other = random.sample(_noted(scene, random, 2), 2)
    ways = [("left of", "to the left of", "beside")] * (one.column < other.column)
    ways += [("right of", "to the right of", "beside")] * (one.column > other.column)
    ways += [("above", "over", "higher than")] * (one.row < other.row)
    ways += [("below", "under", "lower than")] * (one.row > other.row)
    way = random.choice(random.choice(ways))
    return f"{_described(one, random)} {way} {_described(other, random)}"


def _as_count(scene: Scene, random: Random) -> str:
    """The most frequent colour or shape by its number, and what else is noticed."""
    common = Counter(
        Kind(**{aspect: getattr(thing, aspect)})
        for aspect in ("color", "shape")
        for thing in scene.things
    )
    kind, number = common.most_common(1)[0]
    if number == 1:
        return f"{NUMBERS[len(scene.things)]} shapes, one of them {_as_place(scene, random)}"
    counted = f"{NUMBERS[number]} {kind.name(random.choice(NOUNS), plural=True)}"
    rest = [thing for thing in scene.things if kind_of(thing, kind.mix) != kind]
    if not rest or random.random() < 0.3:
        return random.choice(("", "", "a picture with ", "there are ")) + counted
    return f"{counted} {random.choice(('and', 'with'))} {_described(random.choice(rest), random)}"


def _as_place(scene: Scene, random: Random) -> str:
    (thing,) = _noted(scene, random, 1)
    where = [("top" if thing.row < 2 else "bottom"), ("left" if thing.column < 2 else "right")]
    corner = random.choice((*where, " ".join(where)))
    return f"{_described(thing, random)} {random.choice(('at the', 'in the', 'on the'))} {corner}"


CAPTIONS: tuple[Callable[[Scene, Random], str], ...] = (
    _as_list, _as_list, _as_relation, _as_count, _as_place,
)  # fmt: skip
