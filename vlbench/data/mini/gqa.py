"""The families of questions of the mini GQA, with GQA's types."""

from __future__ import annotations

from random import Random

from vlbench.data.mini.questions import Balance, Family, Question, named_thing, two_things
from vlbench.data.mini.referring import KINDS, VALUES, Kind, absent_kind, article, present_kind
from vlbench.data.mini.world import Scene


def query_attribute(scene: Scene, random: Random) -> Question | None:
    """An open question for an attribute."""
    aspect = random.choice(("color", "shape"))
    found = named_thing(scene, random, without=aspect)
    if found is None:
        return None
    thing, kind, name = found
    text = random.choice(
        (
            f"What {aspect} is the {name} in the image?",
            f"What is the {aspect} of the {name} that is shown?",
        )
    )
    return Question(f"query {aspect}", kind.form, text, getattr(thing, aspect), kind)


def verify_attribute(scene: Scene, random: Random) -> Question | None:
    """Whether a named thing has a colour or shape; wrong values are ones that the scene shows."""
    aspect = random.choice(("color", "shape"))
    found = named_thing(scene, random, without=aspect)
    if found is None:
        return None
    thing, kind, name = found
    value = getattr(thing, aspect)
    claimed = value
    if random.random() < 0.5:
        others = [getattr(t, aspect) for t in scene.things if getattr(t, aspect) != value]
        claimed = random.choice(others or [v for v in VALUES[aspect] if v != value])
    shown = article(claimed) if aspect == "shape" else claimed
    text = random.choice((f"Is the {name} {shown}?", f"Does it look like the {name} is {shown}?"))
    return Question(f"verify {aspect}", kind.form, text, "yes" if claimed == value else "no", kind)


def choose_attribute(scene: Scene, random: Random) -> Question | None:
    """Which of two colours or sizes a named thing has."""
    aspect = random.choice(("color", "size"))
    found = named_thing(scene, random, without=aspect)
    if found is None:
        return None
    thing, kind, name = found
    value = getattr(thing, aspect)
    options = [value, random.choice([v for v in VALUES[aspect] if v != value])]
    random.shuffle(options)
    text = random.choice(
        (
            f"Is the {name} {options[0]} or {options[1]}?",
            f"Which is the {name}, {options[0]} or {options[1]}?",
        )
    )
    return Question(f"choose {aspect}", kind.form, text, value, kind)


def choose_side(scene: Scene, random: Random) -> Question | None:
    """Which side of the picture a named thing is on."""
    found = named_thing(scene, random)
    if found is None:
        return None
    thing, kind, name = found
    if random.random() < 0.5:
        text = f"On which side of the image is the {name}, the left or the right?"
        return Question(
            "choose side", kind.form, text, "left" if thing.column < 2 else "right", kind
        )
    text = f"In which part of the image is the {name}, the top or the bottom?"
    return Question("choose side", kind.form, text, "top" if thing.row < 2 else "bottom", kind)


def relate(scene: Scene, random: Random) -> Question | None:
    """Whether one thing is on a given side of another."""
    two = two_things(scene, random)
    if two is None:
        return None
    one, other, first, second = two
    offers = []
    if one.column != other.column:
        offers += [
            ("to the left of", one.column < other.column),
            ("to the right of", one.column > other.column),
        ]
    if one.row != other.row:
        offers += [("above", one.row < other.row), ("below", one.row > other.row)]
    way, holds = random.choice(offers)
    text = random.choice(
        (f"Is the {first} {way} the {second}?", f"Is there {article(first)} {way} the {second}?")
    )
    return Question("verify relation", way, text, "yes" if holds else "no")


def compare(scene: Scene, random: Random, may_tell: bool = False) -> Question | None:
    """Whether two things have an attribute in common; `may_tell`: their names may say it."""
    two = two_things(scene, random)
    if two is None:
        return None
    one, other, first, second = two
    aspect = random.choice(KINDS)
    if not may_tell and {*first.split(), *second.split()} & {*VALUES[aspect]}:
        return None
    same = getattr(one, aspect) == getattr(other, aspect)
    text = random.choice(
        (
            f"Do the {first} and the {second} have the same {aspect}?",
            f"Are the {first} and the {second} the same {aspect}?",
        )
    )
    return Question(f"same {aspect}", aspect, text, "yes" if same else "no")


def combine(scene: Scene, random: Random, may_tell: bool = False) -> Question | None:
    """Whether both, or either, of two kinds are shown.

    The more a kind names, the rarer it is: answers are balanced for each pair of forms, unless
    wordings `may_tell`.
    """
    kinds: list[Kind] = []
    while len(kinds) < 2:
        kind = (present_kind if random.random() < 0.5 else absent_kind)(scene, random)
        if kind.form in ("shape", "color", "color+shape") and kind not in kinds:
            kinds.append(kind)
    found = [kind.count(scene) > 0 for kind in kinds]
    form = "" if may_tell else "|".join(sorted(kind.form for kind in kinds))
    names = [article(kind.name("thing")) for kind in kinds]
    if random.random() < 0.5:
        text, holds = f"Are there both {names[0]} and {names[1]}?", all(found)
        return Question("logical and", form, text, "yes" if holds else "no")
    text, holds = f"Is there either {names[0]} or {names[1]}?", any(found)
    return Question("logical or", form, text, "yes" if holds else "no")


GQA_FAMILIES: tuple[Family, ...] = (
    query_attribute, verify_attribute, choose_attribute, choose_side, relate, compare, combine,
)  # fmt: skip
GQA_TYPES = {
    "query color": ("query", "attr"),
    "query shape": ("query", "cat"),
    "verify color": ("verify", "attr"),
    "verify shape": ("verify", "cat"),
    "choose color": ("choose", "attr"),
    "choose size": ("choose", "attr"),
    "choose side": ("choose", "global"),
    "verify relation": ("verify", "rel"),
    "same color": ("compare", "attr"),
    "same shape": ("compare", "cat"),
    "same size": ("compare", "attr"),
    "logical and": ("logical", "obj"),
    "logical or": ("logical", "obj"),
}
"""Family -> GQA's structural and semantic type."""


def follow_up(
    question: Question, scene: Scene, balance: Balance, random: Random
) -> Question | None:
    """A yes-or-no question whose answer follows from an open one's, or None."""
    if question.about is None or not question.family.startswith("query"):
        return None
    aspect = question.family.removeprefix("query ")
    offers = []
    for claimed in (
        question.answer,
        random.choice([v for v in VALUES[aspect] if v != question.answer]),
    ):
        shown = article(claimed) if aspect == "shape" else claimed
        text = f"Is the {question.about.name('object')} {shown}?"
        answer = "yes" if claimed == question.answer else "no"
        offers.append(Question(f"verify {aspect}", question.form, text, answer, question.about))
    return balance.choose(offers)
