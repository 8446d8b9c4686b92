"""What mini-bart is taught before any task: to describe, look up, count, place and check.

The lessons cover what a picture can be asked, in wordings and with answers that no task uses, so
that tuning on a task is adaptation: the knowledge is there, the task's language is not. As BART
has read much English, mini-bart also sees the tasks' sentences, but only as text to repair
(`repair`): never with an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from vlbench.data.mini.world import (
    KINDS,
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
ASPECTS = {"color": "paint", "shape": "form", "size": "extent"}
MASK = "<mask>"


@dataclass(frozen=True, slots=True)
class Lesson:
    """A text about one or two scenes, the reply to learn, and the skill it teaches."""

    skill: str
    text: str
    reply: str


Teacher = Callable[[Scene, Random], "Lesson | None"]
S = TypeVar("S")


def _say(random: Random, *wordings: str) -> str:
    return random.choice(wordings)


def _place(thing: Thing) -> str:
    return f"row {NUMBERS[thing.row + 1]} column {NUMBERS[thing.column + 1]}"


def _full(thing: Thing) -> str:
    return f"{thing.size} {thing.color} {thing.shape}"


def inventory(scene: Scene, random: Random) -> Lesson:
    """Everything in reading order, each with its place."""
    text = _say(
        random, "take inventory", "note all items with their spots", "go through the canvas"
    )
    return Lesson("inventory", text, " ; ".join(f"{_full(t)} {_place(t)}" for t in scene.things))


def recount(scene: Scene, random: Random) -> Lesson:
    """Everything in any order, without places."""
    things = list(scene.things)
    random.shuffle(things)
    text = _say(random, "jot down the contents", "say which items got painted")
    return Lesson("recount", text, " plus ".join(_full(t) for t in sorted(things)))


def look_up(scene: Scene, random: Random) -> Lesson | None:
    """One attribute of a named thing."""
    thing, aspect = random.choice(scene.things), random.choice(KINDS)
    kind = unique_kind(scene, thing, random, without=aspect)
    if kind is None:
        return None
    name, word = kind.name("item"), ASPECTS[aspect]
    text = _say(
        random,
        f"name the {word} of {name}",
        f"{name} : its {word}",
        f"report {word} for {name}",
        f"look at {name} and give the {word}",
    )
    return Lesson(f"look_up {aspect}", text, f"{word} {getattr(thing, aspect)}")


def locate(scene: Scene, random: Random) -> Lesson | None:
    """The cell of a named thing."""
    thing = random.choice(scene.things)
    kind = unique_kind(scene, thing, random)
    if kind is None:
        return None
    name = kind.name("item")
    return Lesson(
        "locate", _say(random, f"locate {name}", f"give the spot of {name}"), _place(thing)
    )


def half(scene: Scene, random: Random) -> Lesson | None:
    """Which half of the canvas a named thing lies in."""
    thing = random.choice(scene.things)
    kind = unique_kind(scene, thing, random)
    if kind is None:
        return None
    name = kind.name("item")
    if random.random() < 0.5:
        return Lesson(
            "half", f"west or east half for {name}", "west" if thing.column < 2 else "east"
        )
    return Lesson("half", f"north or south half for {name}", "north" if thing.row < 2 else "south")


def at(scene: Scene, random: Random) -> Lesson:
    """What lies in a cell."""
    thing = random.choice(scene.things)
    text = _say(random, f"tell me about {_place(thing)}", f"{_place(thing)} holds")
    return Lesson("at", text, _full(thing))


def tally(scene: Scene, random: Random) -> Lesson:
    """How many things are of a kind; all numbers about equally often."""
    wanted = random.choice((0, 1, 1, 2, 2, 3, 3, 4))
    kind = absent_kind(scene, random)
    for _ in range(12):
        if kind.count(scene) == wanted:
            break
        kind = present_kind(scene, random)
    name = kind.name("item", plural=True)
    text = _say(random, f"tally {name}", f"add up all {name}", f"total of {name}")
    return Lesson("tally", text, NUMBERS[kind.count(scene)])


def seek(scene: Scene, random: Random) -> Lesson:
    """Whether a kind is shown at all."""
    present = random.random() < 0.5
    name = (present_kind if present else absent_kind)(scene, random).name("item")
    text = _say(random, f"seek {name}", f"try to spot {name}", f"search for {name}")
    return Lesson("seek", text, "spotted" if present else "missing")


def _two(scene: Scene, random: Random) -> tuple[Thing, Thing, str, str] | None:
    if len(scene.things) < 2:
        return None
    one, other = random.sample(scene.things, 2)
    first, second = unique_kind(scene, one, random), unique_kind(scene, other, random)
    if first is None or second is None:
        return None
    return one, other, first.name("item"), second.name("item")


def bearing(scene: Scene, random: Random) -> Lesson | None:
    """The direction from one thing to another."""
    two = _two(scene, random)
    if two is None:
        return None
    one, other, first, second = two
    if random.random() < 0.5:
        if one.column == other.column:
            return None
        way = "west" if one.column < other.column else "east"
        return Lesson("bearing", f"{first} lies west or east of {second}", way)
    if one.row == other.row:
        return None
    way = "north" if one.row < other.row else "south"
    return Lesson("bearing", f"{first} lies north or south of {second}", way)


def agree(scene: Scene, random: Random) -> Lesson | None:
    """Whether two things agree in one attribute."""
    two = _two(scene, random)
    if two is None:
        return None
    one, other, first, second = two
    aspect = random.choice(KINDS)
    same = getattr(one, aspect) == getattr(other, aspect)
    if not same and random.random() < 0.5:
        return None  # most pairs differ: even it out
    text = _say(
        random,
        f"{ASPECTS[aspect]} of {first} against {second}",
        f"match {first} with {second} by {ASPECTS[aspect]}",
    )
    return Lesson("agree", text, "agree" if same else "differ")


def claim(scene: Scene, random: Random) -> Lesson | None:
    """A claim about the canvas: right or wrong."""
    right = random.random() < 0.5
    made = random.choice((_claim_value, _claim_number, _claim_presence, _claim_bearing))(
        scene, right, random
    )
    if made is None:
        return None
    return Lesson("claim", f"claim : {made}", "right" if right else "wrong")


def _claim_value(scene: Scene, right: bool, random: Random) -> str | None:
    thing, aspect = random.choice(scene.things), random.choice(KINDS)
    kind = unique_kind(scene, thing, random, without=aspect)
    if kind is None:
        return None
    value = getattr(thing, aspect)
    if not right:
        value = random.choice([other for other in VALUES[aspect] if other != value])
    return f"{kind.name('item')} has {ASPECTS[aspect]} {value}"


def _claim_number(scene: Scene, right: bool, random: Random) -> str:
    kind = present_kind(scene, random)
    number = kind.count(scene)
    if not right:
        number = random.choice([n for n in range(max(0, number - 1), number + 2) if n != number])
    return f"{NUMBERS[number]} of {kind.name('item')}"


def _claim_presence(scene: Scene, right: bool, random: Random) -> str:
    present = random.random() < 0.6
    kind = (present_kind if present == right else absent_kind)(scene, random)
    return f"{'some' if present else 'no'} {kind.name('item')} on the canvas"


def _claim_bearing(scene: Scene, right: bool, random: Random) -> str | None:
    lesson = bearing(scene, random)
    if lesson is None:
        return None
    opposite = {"west": "east", "east": "west", "north": "south", "south": "north"}
    way = lesson.reply if right else opposite[lesson.reply]
    for both in ("west or east", "north or south"):
        lesson = Lesson("", lesson.text.replace(both, way), "")
    return lesson.text


LONG: tuple[tuple[Teacher, int], ...] = ((inventory, 2), (recount, 1))
SHORT: tuple[tuple[Teacher, int], ...] = (
    (look_up, 24), (locate, 7), (half, 4), (at, 5), (tally, 12),
    (seek, 8), (bearing, 6), (agree, 6), (claim, 14),
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


def pair_lesson(pair: Sequence[Scene], random: Random) -> Lesson:
    """A lesson about one of two canvases, or a comparison of the two."""
    if random.random() < 0.5:
        side = random.randrange(2)
        taught = lesson(pair[side], random)
        where = _say(
            random, ("opening canvas", "closing canvas")[side], ("canvas one", "canvas two")[side]
        )
        return Lesson(f"pair {taught.skill}", f"{where} , {taught.text}", taught.reply)
    return random.choice((_pair_tally, _pair_seek, _pair_claim))(pair, random)


def _shared_kind(pair: Sequence[Scene], random: Random) -> Kind:
    mix = random.choice(
        (("shape",), ("color",), ("shape",), ("color",), ("color", "shape"), ("size", "shape"))
    )
    return kind_of(random.choice(pair[random.randrange(2)].things), mix)


def _pair_tally(pair: Sequence[Scene], random: Random) -> Lesson:
    kind = _shared_kind(pair, random)
    one, two = (NUMBERS[kind.count(scene)] for scene in pair)
    return Lesson(
        "pair tally", f"tally {kind.name('item', plural=True)} on each canvas", f"{one} then {two}"
    )


def _pair_seek(pair: Sequence[Scene], random: Random) -> Lesson:
    kind = _shared_kind(pair, random)
    found = (kind.count(pair[0]) > 0, kind.count(pair[1]) > 0)
    reply = {(True, True): "on each", (True, False): "canvas one", (False, True): "canvas two"}
    return Lesson(
        "pair seek", f"seek {kind.name('item')} on each canvas", reply.get(found, "missing")
    )


def _pair_claim(pair: Sequence[Scene], random: Random) -> Lesson:
    kind = _shared_kind(pair, random)
    one, two = (kind.count(scene) for scene in pair)
    name, names = kind.name("item"), kind.name("item", plural=True)
    number = random.choice((one, two, one + two))
    said, right = random.choice(
        (
            (f"each canvas has {name}", one > 0 and two > 0),
            (f"canvas one has {name}", one > 0),
            (f"canvas two has {name}", two > 0),
            (f"canvas one has more {names} than canvas two", one > two),
            (f"canvas two has more {names} than canvas one", two > one),
            (f"equal tally of {names}", one == two),
            (f"{NUMBERS[min(number, 5)]} {names} added up", one + two == min(number, 5)),
            (f"a single canvas has {name}", (one > 0) != (two > 0)),
        )
    )
    return Lesson("pair claim", f"claim : {said}", "right" if right else "wrong")


def repair(sentence: str, random: Random) -> Lesson:
    """Text with a masked span, to be written out whole: BART's own objective."""
    words = sentence.split()
    length = min(len(words), random.choice((1, 1, 2, 2, 3)))
    start = random.randrange(len(words) - length + 1)
    masked = [*words[:start], MASK, *words[start + length :]]
    return Lesson("repair", " ".join(masked), sentence)
