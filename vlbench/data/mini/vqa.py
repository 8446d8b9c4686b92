"""The families of questions of the mini VQAv2, and its ten annotators."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from vlbench.data.mini.questions import Family, Question, named_thing
from vlbench.data.mini.referring import absent_kind, article, present_kind
from vlbench.data.mini.world import COLORS, SHAPES, Scene


def what_color(scene: Scene, random: Random) -> Question | None:
    """The colour of a named thing."""
    found = named_thing(scene, random, without="color")
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
    found = named_thing(scene, random, without="shape")
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
