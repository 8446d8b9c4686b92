"""Questions about pictures of the mini world, as VQAv2 and GQA ask them.

A family of questions is a function of a scene; it gives None where there is nothing to ask. Answers
are balanced within each family and form, the attributes that a question names, so that its words
give the answer away no better than chance does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from vlbench.data.mini.world import (
    COLORS,
    SHAPES,
    VALUES,
    Kind,
    Scene,
    Thing,
    absent_kind,
    article,
    present_kind,
    unique_kind,
)


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one scene."""

    family: str
    form: str
    text: str
    answer: str
    about: Kind | None = None  # the kind of thing it is about, for questions that follow from it


Offer = Question | None
Family = Callable[[Scene, Random], Offer]


class Balance(Counter[tuple[str, str, str]]):
    """How often each answer was given in its family and form."""

    def choose(self, offers: Iterable[Offer]) -> Offer:
        """The offer with the rarest answer so far, counted as given; None where there is none."""
        questions = [offer for offer in offers if offer is not None]
        if not questions:
            return None
        best = min(questions, key=lambda q: self[q.family, q.form, q.answer])
        self[best.family, best.form, best.answer] += 1
        return best


def ask(
    scene: Scene, families: Sequence[Family], count: int, balance: Balance, random: Random
) -> list[Question]:
    """`count` different questions about a scene, families in turn from a random start."""
    questions: list[Question] = []
    start = random.randrange(len(families))
    for turn in range(4 * len(families)):
        family = families[(start + turn) % len(families)]
        chosen = balance.choose([family(scene, random) for _ in range(8)])
        if chosen is not None and chosen.text not in [other.text for other in questions]:
            questions.append(chosen)
        if len(questions) == count:
            break
    return questions


def named(scene: Scene, random: Random, without: str = "") -> tuple[Thing, Kind, str] | None:
    """A thing, the kind that names it, never by the attribute `without`, and its name."""
    thing = random.choice(scene.things)
    kind = unique_kind(scene, thing, random, without)
    return None if kind is None else (thing, kind, kind.name(random.choice(("thing", "object"))))


def _query(
    scene: Scene, random: Random, family: str, aspect: str, wordings: Sequence[str]
) -> Offer:
    if (subject := named(scene, random, without=aspect)) is None:
        return None
    thing, kind, name = subject
    text = random.choice(wordings).format(name)
    return Question(family, kind.form, text, getattr(thing, aspect), kind)


def yes_or_no(holds: bool) -> str:
    """The answer in a word."""
    return "yes" if holds else "no"


# VQAv2


WHAT_COLOR = (
    "What color is the {}?", "What is the color of the {}?", "Which color does the {} have?",
    "The {} is what color?",
)  # fmt: skip
WHAT_SHAPE = ("What is the {}?", "What shape is the {}?", "What kind of shape is the {}?")
what_color = partial(_query, family="what color", aspect="color", wordings=WHAT_COLOR)
what_shape = partial(_query, family="what is the", aspect="shape", wordings=WHAT_SHAPE)


def how_many(scene: Scene, random: Random) -> Offer:
    """The number of things of a kind, 1 to 5."""
    kind = present_kind(scene, random)
    if kind.form not in ("shape", "color", "size") or kind.count(scene) > 5:
        return None
    wordings = (
        "How many {} are there?", "How many {} do you see?", "What is the number of {}?",
        "How many {} are in the picture?",
    )  # fmt: skip
    text = random.choice(wordings).format(kind.name("thing", plural=True))
    return Question("how many", kind.form, text, str(kind.count(scene)), kind)


def is_there(scene: Scene, random: Random) -> Offer:
    """Whether a kind of thing is in the picture; absent kinds mix attributes that are shown."""
    kind = (present_kind if random.random() < 0.5 else absent_kind)(scene, random)
    name = article(kind.name(random.choice(("thing", "object"))))
    wordings = (
        "Is there {}?", "Is {} in the picture?", "Do you see {}?", "Can you see {} here?",
    )  # fmt: skip
    text = random.choice(wordings).format(name)
    return Question("is there", kind.form, text, yes_or_no(kind.count(scene) > 0), kind)


VQA_FAMILIES: tuple[Family, ...] = (how_many, what_color, how_many, what_shape, is_there)
ANSWER_TYPES = {
    "what color": "other", "what is the": "other", "how many": "number", "is there": "yes/no",
}  # fmt: skip
SPELLINGS = {
    "1": "one", "2": "two", "3": "three", "4": "four", "5": "five",
    "gray": "grey", "square": "a square",
}  # fmt: skip


def annotators(answer: str, random: Random) -> list[str]:
    """Ten answers as ten people would give them: mostly right, some slips, some other spellings."""
    slips: Sequence[str] = COLORS if answer in COLORS else SHAPES
    if answer in ("yes", "no"):
        slips = ("yes", "no")
    elif answer.isdigit():
        slips = (str(max(0, int(answer) - 1)), str(int(answer) + 1))
    answers = []
    for _ in range(10):
        given = random.choice(slips) if random.random() < 0.08 else answer
        answers.append(SPELLINGS.get(given, given) if random.random() < 0.06 else given)
    return answers


# GQA


def query_attribute(scene: Scene, random: Random) -> Offer:
    """An open question for an attribute."""
    aspect = random.choice(("color", "shape"))
    wordings = (
        f"What {aspect} is the {{}} in the image?",
        f"What is the {aspect} of the {{}} that is shown?",
    )
    return _query(scene, random, f"query {aspect}", aspect, wordings)


def verify_attribute(scene: Scene, random: Random) -> Offer:
    """Whether a named thing has a colour or shape; wrong values are ones that the scene shows."""
    aspect = random.choice(("color", "shape"))
    if (subject := named(scene, random, without=aspect)) is None:
        return None
    thing, kind, name = subject
    value = claimed = getattr(thing, aspect)
    if random.random() < 0.5:
        others = [getattr(t, aspect) for t in scene.things if getattr(t, aspect) != value]
        claimed = random.choice(others or [v for v in VALUES[aspect] if v != value])
    words = article(claimed) if aspect == "shape" else claimed
    text = random.choice((f"Is the {name} {words}?", f"Does it look like the {name} is {words}?"))
    return Question(f"verify {aspect}", kind.form, text, yes_or_no(claimed == value), kind)


def choose_attribute(scene: Scene, random: Random) -> Offer:
    """Which of two colours or sizes a named thing has."""
    aspect = random.choice(("color", "size"))
    if (subject := named(scene, random, without=aspect)) is None:
        return None
    thing, kind, name = subject
    value = getattr(thing, aspect)
    options = [value, random.choice([v for v in VALUES[aspect] if v != value])]
    random.shuffle(options)
    either = " or ".join(options)
    text = random.choice((f"Is the {name} {either}?", f"Which is the {name}, {either}?"))
    return Question(f"choose {aspect}", kind.form, text, value, kind)


def choose_side(scene: Scene, random: Random) -> Offer:
    """Which side of the picture a named thing is on."""
    if (subject := named(scene, random)) is None:
        return None
    thing, kind, name = subject
    text = f"In which part of the image is the {name}, the top or the bottom?"
    answer = "top" if thing.row < 2 else "bottom"
    if random.random() < 0.5:
        text = f"On which side of the image is the {name}, the left or the right?"
        answer = "left" if thing.column < 2 else "right"
    return Question("choose side", kind.form, text, answer, kind)


def combine(scene: Scene, random: Random, may_tell: bool = False) -> Offer:
    """Whether both, or either, of two kinds are shown.

    The more a kind names, the rarer it is: answers are balanced for each pair of forms, unless
    wordings `may_tell`.
    """
    kinds: list[Kind] = []
    while len(kinds) < 2:
        kind = (present_kind if random.random() < 0.5 else absent_kind)(scene, random)
        if kind.form in ("shape", "color", "color+shape") and kind not in kinds:
            kinds.append(kind)
    are_shown = [kind.count(scene) > 0 for kind in kinds]
    form = "" if may_tell else "|".join(sorted(kind.form for kind in kinds))
    first, second = (article(kind.name("thing")) for kind in kinds)
    if random.random() < 0.5:
        both = f"Are there both {first} and {second}?"
        return Question("logical and", form, both, yes_or_no(all(are_shown)))
    either = f"Is there either {first} or {second}?"
    return Question("logical or", form, either, yes_or_no(any(are_shown)))


GQA_FAMILIES: tuple[Family, ...] = (
    query_attribute, verify_attribute, choose_attribute, choose_side, combine,
)  # fmt: skip
GQA_TYPES = {  # family -> GQA's structural and semantic type
    "query color": ("query", "attr"), "query shape": ("query", "cat"),
    "verify color": ("verify", "attr"), "verify shape": ("verify", "cat"),
    "choose color": ("choose", "attr"), "choose size": ("choose", "attr"),
    "choose side": ("choose", "global"), "logical and": ("logical", "obj"),
    "logical or": ("logical", "obj"),
}  # fmt: skip


def follow_up(question: Question, balance: Balance, random: Random) -> Offer:
    """A yes-or-no question whose answer follows from an open one's, or None."""
    if question.about is None or not question.family.startswith("query"):
        return None
    aspect = question.family.removeprefix("query ")
    others = [value for value in VALUES[aspect] if value != question.answer]
    offers = []
    for claimed in (question.answer, random.choice(others)):
        words = article(claimed) if aspect == "shape" else claimed
        text = f"Is the {question.about.name('object')} {words}?"
        answer = yes_or_no(claimed == question.answer)
        offers.append(Question(f"verify {aspect}", question.form, text, answer, question.about))
    return balance.choose(offers)
