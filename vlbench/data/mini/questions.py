"""Questions of the mini VQAv2 and GQA: families of paraphrases, kept in balance by `Balance`.

A family is a function: given a scene it offers one question with its answer, or None where the
scene has nothing to ask. `form` says which attributes the question names: answers are balanced
within each family and form, so that the words of a question give its answer away no better than
chance does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from vlbench.data.mini.referring import (
    KINDS,
    VALUES,
    Kind,
    absent_kind,
    article,
    present_kind,
    unique_kind,
)
from vlbench.data.mini.world import COLORS, SHAPES, Scene, Thing


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one scene."""

    family: str
    form: str
    text: str
    answer: str
    about: Kind | None = None
    """The kind of thing it is about, for questions that follow from it."""


Family = Callable[[Scene, Random], Question | None]


@dataclass
class Balance:
    """Chooses the question whose answer has been given least often in its family and form."""

    given: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def choose(self, offers: Iterable[Question | None]) -> Question | None:
        """The offer with the rarest answer so far, counted as given; None where there is none."""
        real = [offer for offer in offers if offer is not None]
        if not real:
            return None
        best = min(real, key=lambda q: self.given[q.family, q.form, q.answer])
        self.given[best.family, best.form, best.answer] += 1
        return best


def ask(
    scene: Scene, families: Sequence[Family], count: int, balance: Balance, random: Random
) -> list[Question]:
    """`count` different questions about a scene, families in turn from a random start."""
    asked: list[Question] = []
    start = random.randrange(len(families))
    for turn in range(4 * len(families)):
        family = families[(start + turn) % len(families)]
        chosen = balance.choose([family(scene, random) for _ in range(8)])
        if chosen is not None and chosen.text not in [other.text for other in asked]:
            asked.append(chosen)
        if len(asked) == count:
            break
    return asked


def _thing(scene: Scene, random: Random, without: str = "") -> tuple[Thing, Kind, str] | None:
    thing = random.choice(scene.things)
    kind = unique_kind(scene, thing, random, without)
    return None if kind is None else (thing, kind, kind.name(random.choice(("thing", "object"))))


def _two(scene: Scene, random: Random) -> tuple[Thing, Thing, str, str] | None:
    one, other = _thing(scene, random), _thing(scene, random)
    if one is None or other is None or one[0] == other[0]:
        return None
    return one[0], other[0], one[2], other[2]


# VQAv2


def what_color(scene: Scene, random: Random) -> Question | None:
    """The colour of a named thing."""
    found = _thing(scene, random, without="color")
    if found is None:
        return None
    thing, kind, name = found
    text = random.choice(
        (
            f"What color is the {name}?",
            f"What is the color of the {name}?",
            f"Which color does the {name} have?",
            f"The {name} is what color?",
        )
    )
    return Question("what color", kind.form, text, thing.color, kind)


def what_shape(scene: Scene, random: Random) -> Question | None:
    """The shape of a named thing."""
    found = _thing(scene, random, without="shape")
    if found is None:
        return None
    thing, kind, name = found
    text = random.choice(
        (f"What is the {name}?", f"What shape is the {name}?", f"What kind of shape is the {name}?")
    )
    return Question("what is the", kind.form, text, thing.shape, kind)


def how_many(scene: Scene, random: Random) -> Question | None:
    """The number of things of a kind, 0 to 3."""
    kind = present_kind(scene, random) if random.random() < 0.75 else absent_kind(scene, random)
    if kind.form not in ("shape", "color", "size", "color+shape") or kind.count(scene) > 3:
        return None
    name = kind.name("thing", plural=True)
    text = random.choice(
        (
            f"How many {name} are there?",
            f"How many {name} do you see?",
            f"What is the number of {name}?",
            f"How many {name} are in the picture?",
        )
    )
    return Question("how many", kind.form, text, str(kind.count(scene)), kind)


def is_there(scene: Scene, random: Random) -> Question | None:
    """Whether a kind of thing is in the picture; absent kinds mix attributes that are shown."""
    kind = (present_kind if random.random() < 0.5 else absent_kind)(scene, random)
    name = article(kind.name(random.choice(("thing", "object"))))
    text = random.choice(
        (
            f"Is there {name}?",
            f"Is {name} in the picture?",
            f"Do you see {name}?",
            f"Can you see {name} here?",
        )
    )
    return Question("is there", kind.form, text, "yes" if kind.count(scene) else "no", kind)


VQA_FAMILIES: tuple[Family, ...] = (what_color, what_shape, how_many, is_there)
ANSWER_TYPES = {
    "what color": "other",
    "what is the": "other",
    "how many": "number",
    "is there": "yes/no",
}


# GQA


def query_attribute(scene: Scene, random: Random) -> Question | None:
    """An open question for an attribute."""
    aspect = random.choice(("color", "shape"))
    found = _thing(scene, random, without=aspect)
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
    found = _thing(scene, random, without=aspect)
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
    found = _thing(scene, random, without=aspect)
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
    found = _thing(scene, random)
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
    two = _two(scene, random)
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
    two = _two(scene, random)
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


WORD_OF = {str(number): word for number, word in enumerate(("zero", "one", "two", "three"))}


def annotators(answer: str, random: Random) -> list[str]:
    """Ten answers as ten people would give them: mostly right, some slips, some other spellings."""
    answers = []
    for _ in range(10):
        given = answer
        if random.random() < 0.08:
            pool: Sequence[str]
            if answer in ("yes", "no"):
                pool = ("yes", "no")
            elif answer.isdigit():
                pool = [str(max(0, int(answer) - 1)), str(int(answer) + 1)]
            else:
                pool = COLORS if answer in COLORS else SHAPES
            given = random.choice(pool)
        if random.random() < 0.06:
            given = WORD_OF.get(given, {"gray": "grey", "square": "a square"}.get(given, given))
        answers.append(given)
    return answers
