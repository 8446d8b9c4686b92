"""What the embedded backbones are taught before any task: to describe, look up, count and check.

The lessons cover what a picture, or a pair of them, can be asked, in wordings and with replies that
no task uses, so that tuning on a task is adaptation: the knowledge is there, the task's language is
not. As BART has read much English, they also see the tasks' sentences and answers, but only as text
to repair (`repair`): never an answer with its question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from vlbench.data.mini.world import (
    KINDS,
    MIXES,
    VALUES,
    Kind,
    Scene,
    Thing,
    absent_kind,
    kind_of,
    present_kind,
    unique_kind,
)

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")
ASPECTS = {"color": ("paint", "color"), "shape": ("form", "shape"), "size": ("extent", "size")}
"""What a lesson calls an attribute."""
VERDICTS = {"claim": ("correct", "mistaken"), "test": ("holds", "fails")}
"""What opens a claim, and the replies to a true and a false one."""
MASK = "<mask>"


@dataclass(frozen=True, slots=True)
class Lesson:
    """A text about one or two scenes, the reply to learn, and the skill it teaches."""

    skill: str
    text: str
    reply: str


Teacher = Callable[[Scene, Random], "Lesson | None"]
S = TypeVar("S")


def _cell(thing: Thing) -> str:
    return f"row {NUMBERS[thing.row + 1]} column {NUMBERS[thing.column + 1]}"


def _full(thing: Thing) -> str:
    return f"{thing.size} {thing.color} {thing.shape}"


def _named(scene: Scene, random: Random, without: str = "") -> tuple[Thing, str] | None:
    """A thing, and a name that is its alone and does not tell the attribute `without`."""
    thing = random.choice(scene.things)
    kind = unique_kind(scene, thing, random, without)
    return None if kind is None else (thing, kind.name("item"))


def _two(scene: Scene, random: Random) -> tuple[Thing, str, Thing, str] | None:
    one, other = _named(scene, random), _named(scene, random)
    if one is None or other is None or one[0] == other[0]:
        return None
    return *one, *other


def inventory(scene: Scene, random: Random) -> Lesson:
    """Everything in reading order, each with its cell."""
    text = random.choice(
        ("take inventory", "note all items with their spots", "go through the canvas")
    )
    return Lesson("inventory", text, " ; ".join(f"{_full(t)} {_cell(t)}" for t in scene.things))


def recount(scene: Scene, random: Random) -> Lesson:
    """Everything in alphabetical order, without cells."""
    text = random.choice(("jot down the contents", "say which items got painted"))
    return Lesson("recount", text, " plus ".join(sorted(map(_full, scene.things))))


def look_up(scene: Scene, random: Random) -> Lesson | None:
    """One attribute of a named thing."""
    aspect = random.choice(KINDS)
    if (named := _named(scene, random, without=aspect)) is None:
        return None
    thing, name = named
    word = random.choice(ASPECTS[aspect])
    text = random.choice(
        (
            f"name the {word} of {name}",
            f"{name} : its {word}",
            f"report {word} for {name}",
            f"look at {name} and give the {word}",
        )
    )
    return Lesson(f"look_up {aspect}", text, f"{word} {getattr(thing, aspect)}")


def locate(scene: Scene, random: Random) -> Lesson | None:
    """The cell of a named thing."""
    if (named := _named(scene, random)) is None:
        return None
    thing, name = named
    text = random.choice((f"locate {name}", f"give the spot of {name}"))
    return Lesson("locate", text, _cell(thing))


def half(scene: Scene, random: Random) -> Lesson | None:
    """Which half of the canvas a named thing lies in."""
    if (named := _named(scene, random)) is None:
        return None
    thing, name = named
    if random.random() < 0.5:
        side = "left" if thing.column < 2 else "right"
        return Lesson("half", f"left or right half for {name}", f"{side} half")
    side = "upper" if thing.row < 2 else "lower"
    return Lesson("half", f"upper or lower half for {name}", f"{side} half")


def at(scene: Scene, random: Random) -> Lesson:
    """What lies in a cell."""
    thing = random.choice(scene.things)
    text = random.choice((f"tell me about {_cell(thing)}", f"{_cell(thing)} holds"))
    return Lesson("at", text, _full(thing))


def tally(scene: Scene, random: Random) -> Lesson:
    """How many things are of a kind, as a word or as a digit; every number about equally often."""
    kinds = {kind_of(thing, mix) for thing in scene.things for mix in MIXES}
    counted: dict[int, list[Kind]] = {0: [absent_kind(scene, random)]}
    for kind in sorted(kinds, key=repr):
        counted.setdefault(kind.count(scene), []).append(kind)
    number, of_number = random.choice(tuple(counted.items()))
    name = random.choice(of_number).name("item", plural=True)
    if random.random() < 0.5:
        return Lesson("tally", f"total of {name} as a digit", str(number))
    return Lesson("tally", random.choice((f"tally {name}", f"add up all {name}")), NUMBERS[number])


def seek(scene: Scene, random: Random) -> Lesson:
    """Whether a kind is shown at all."""
    present = random.random() < 0.5
    name = (present_kind if present else absent_kind)(scene, random).name("item")
    text = random.choice((f"seek {name}", f"try to spot {name}", f"search for {name}"))
    return Lesson("seek", text, "spotted" if present else "missing")


def look_up_two(scene: Scene, random: Random) -> Lesson | None:
    """One attribute, or the cells, of two named things: what comparing them needs."""
    if (two := _two(scene, random)) is None:
        return None
    one, first, other, second = two
    if random.random() < 0.5:
        return Lesson(
            "look_up two", f"cells of {first} and {second}", f"{_cell(one)} ; {_cell(other)}"
        )
    aspect = random.choice(KINDS)
    word = random.choice(ASPECTS[aspect])
    reply = f"{getattr(one, aspect)} ; {getattr(other, aspect)}"
    return Lesson("look_up two", f"{word} of {first} and {second}", reply)


WAYS = {"left": "right", "right": "left", "above": "below", "below": "above"}
"""Each direction and its opposite."""


def _way(one: Thing, other: Thing, random: Random) -> str:
    """A direction in which `one` lies from `other`."""
    ways = [("left", one.column < other.column), ("right", one.column > other.column)]
    ways += [("above", one.row < other.row), ("below", one.row > other.row)]
    return random.choice([way for way, holds in ways if holds])


def bearing(scene: Scene, random: Random) -> Lesson | None:
    """The direction from one thing to another."""
    if (two := _two(scene, random)) is None:
        return None
    one, first, other, second = two
    way = _way(one, other, random)
    ways = " or ".join(sorted((way, WAYS[way])))
    text = random.choice((f"{first} lies {ways} of {second}", f"from {second} to {first} : {ways}"))
    return Lesson("bearing", text, f"lies {way}")


def agree(scene: Scene, random: Random) -> Lesson | None:
    """Whether two things agree in one attribute."""
    if (two := _two(scene, random)) is None:
        return None
    one, first, other, second = two
    aspect = random.choice(KINDS)
    same = getattr(one, aspect) == getattr(other, aspect)
    if not same and random.random() < 0.5:
        return None  # most pairs differ: even it out
    word = random.choice(ASPECTS[aspect])
    text = random.choice(
        (f"{word} of {first} against {second}", f"match {first} with {second} by {word}")
    )
    return Lesson("agree", text, "agree" if same else "differ")


def verdict(skill: str, statement: str, is_true: bool, random: Random) -> Lesson:
    """A claim, to be called true or false."""
    opening, replies = random.choice(tuple(VERDICTS.items()))
    return Lesson(skill, f"{opening} : {statement}", replies[not is_true])


def claim(scene: Scene, random: Random) -> Lesson | None:
    """A claim about the canvas: true or false."""
    is_true = random.random() < 0.5
    statement = random.choice(CLAIMS)(scene, is_true, random)
    return None if statement is None else verdict("claim", statement, is_true, random)


def _claim_value(scene: Scene, is_true: bool, random: Random) -> str | None:
    aspect = random.choice(KINDS)
    if (named := _named(scene, random, without=aspect)) is None:
        return None
    thing, name = named
    value = getattr(thing, aspect)
    if not is_true:
        value = random.choice([other for other in VALUES[aspect] if other != value])
    return random.choice(
        (f"{name} has {random.choice(ASPECTS[aspect])} {value}", f"{name} is {value}")
    )


def _claim_number(scene: Scene, is_true: bool, random: Random) -> str:
    kind = present_kind(scene, random)
    number = kind.count(scene)
    if not is_true:
        number = random.choice([n for n in range(max(0, number - 1), number + 2) if n != number])
    return f"{NUMBERS[min(number, 6)]} of {kind.name('item')}"


def _claim_presence(scene: Scene, is_true: bool, random: Random) -> str:
    present = random.random() < 0.6
    kind = (present_kind if present == is_true else absent_kind)(scene, random)
    return f"{'some' if present else 'no'} {kind.name('item')} on the canvas"


def _claim_bearing(scene: Scene, is_true: bool, random: Random) -> str | None:
    if (two := _two(scene, random)) is None:
        return None
    one, first, other, second = two
    way = _way(one, other, random)
    return f"{first} lies {way if is_true else WAYS[way]} of {second}"


def _claim_same(scene: Scene, is_true: bool, random: Random) -> str | None:
    for _ in range(6):
        two, aspect = _two(scene, random), random.choice(KINDS)
        if two and (getattr(two[0], aspect) == getattr(two[2], aspect)) == is_true:
            return f"{two[1]} and {two[3]} agree in {random.choice(ASPECTS[aspect])}"
    return None


def _claim_two(scene: Scene, is_true: bool, random: Random) -> str | None:
    """That both, or one at least, of two kinds are shown."""
    for _ in range(6):
        kinds = [random.choice((present_kind, absent_kind))(scene, random) for _ in range(2)]
        are_shown = [kind.count(scene) > 0 for kind in kinds]
        first, second = (kind.name("item") for kind in kinds)
        word, holds = random.choice((("with", all(are_shown)), ("or else", any(are_shown))))
        if holds == is_true:
            return f"{first} {word} {second} on the canvas"
    return None


CLAIMS = (
    _claim_value, _claim_number, _claim_presence, _claim_bearing, _claim_same, _claim_two,
)  # fmt: skip
LONG: tuple[tuple[Teacher, int], ...] = ((inventory, 2), (recount, 1))
SHORT: tuple[tuple[Teacher, int], ...] = (
    (look_up, 14), (locate, 4), (half, 6), (at, 4), (tally, 12), (seek, 7),
    (look_up_two, 10), (bearing, 12), (agree, 12), (claim, 24),
)  # fmt: skip
"""Each skill with its weight in the mix."""


def drawn(
    subject: S, random: Random, mix: Sequence[tuple[Callable[[S, Random], Lesson | None], int]]
) -> Lesson:
    """A lesson about a scene or clip, by one of the weighted teachers with something to say."""
    teachers, weights = zip(*mix, strict=True)
    while True:
        taught: Lesson | None = random.choices(teachers, weights)[0](subject, random)
        if taught is not None:
            return taught


def lesson(scene: Scene, random: Random) -> Lesson:
    """One lesson with a short reply."""
    return drawn(scene, random, SHORT)


def long_lesson(scene: Scene, random: Random) -> Lesson:
    """One lesson whose reply goes through the whole scene."""
    return drawn(scene, random, LONG)


def repair(sentence: str, random: Random) -> Lesson:
    """Text with a masked span, to be written out whole: BART's own objective."""
    words = sentence.split()
    length = min(len(words), random.choice((1, 1, 2, 2, 3)))
    start = random.randrange(len(words) - length + 1)
    masked = [*words[:start], MASK, *words[start + length :]]
    return Lesson("repair", " ".join(masked), sentence)
