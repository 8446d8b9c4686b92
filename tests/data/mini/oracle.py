"""What is true of a scene or pair, read anew from the words: shares no code with the writer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from typing import Any, NamedTuple

from vlbench.data.mini.world import Scene, Thing

WORDS = {
    "size": ["small", "large"],
    "color": [
        "red",
        "orange",
        "yellow",
        "green",
        "cyan",
        "blue",
        "purple",
        "pink",
        "brown",
        "gray",
    ],
    "shape": ["circle", "square", "triangle", "star", "cross"],
}  # fmt: skip
NOUNS = ["thing", "object", "shape", "item"]
NUMBERS = {"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
COLOR, SIZE, SHAPE = ("|".join(WORDS[kind]) for kind in ("color", "size", "shape"))


class Reading(NamedTuple):
    """What an oracle reads from a sentence: the family it belongs to, and the answer."""

    family: str
    answer: str


def attributes(phrase: str) -> dict[str, str]:
    """`a small red star` -> what it says of size, colour and shape."""
    words = phrase.lower().split()
    if words[0] in ("a", "an", "the"):
        words = words[1:]
    singular = {noun + ("es" if noun.endswith("s") else "s"): noun for noun in NOUNS}
    singular |= {shape + ("es" if shape == "cross" else "s"): shape for shape in WORDS["shape"]}
    noun = singular.get(words[-1], words[-1])
    assert noun in NOUNS or noun in WORDS["shape"], phrase
    values = {} if noun in NOUNS else {"shape": noun}
    for word in words[:-1]:
        [kind] = [kind for kind in ("size", "color") if word in WORDS[kind]]
        assert kind not in values, phrase
        values[kind] = word
    return values


def all_of(scene: Scene, phrase: str) -> list[Thing]:
    """The things that a phrase fits."""
    values = attributes(phrase)
    return [
        thing
        for thing in scene.things
        if all(getattr(thing, kind) == value for kind, value in values.items())
    ]


def the(scene: Scene, phrase: str) -> Thing:
    """The one thing that a phrase fits; a question must not name it ambiguously."""
    [thing] = all_of(scene, phrase)
    return thing


def yes(holds: bool) -> str:
    return "yes" if holds else "no"


def kind_of_value(value: str) -> str:
    word = value.split()[-1]
    return next(kind for kind, words in WORDS.items() if word in words)


def relation(scene: Scene, one: str, way: str, other: str) -> bool:
    first, second = the(scene, one), the(scene, other)
    assert first != second
    return {
        "to the left of": first.column < second.column,
        "to the right of": first.column > second.column,
        "above": first.row < second.row,
        "below": first.row > second.row,
    }[way]


def choose(scene: Scene, phrase: str, one: str, other: str) -> Reading:
    kind = kind_of_value(one)
    value = getattr(the(scene, phrase), kind)
    assert one != other and value in (one, other) and kind not in attributes(phrase)
    return Reading(f"choose {kind}", value)


def query(scene: Scene, phrase: str, kind: str) -> str:
    assert kind not in attributes(phrase), "the question gives its answer away"
    return str(getattr(the(scene, phrase), kind))


def verify(scene: Scene, phrase: str, value: str) -> Reading:
    kind = kind_of_value(value)
    return Reading(f"verify {kind}", yes(query(scene, phrase, kind) == value.split()[-1]))


def same(scene: Scene, one: str, other: str, kind: str) -> Reading:
    first, second = the(scene, one), the(scene, other)
    return Reading(f"same {kind}", yes(getattr(first, kind) == getattr(second, kind)))


Rule = tuple[str, Callable[..., Reading]]


def rules(suffix: str, answer: Callable[..., Any], *patterns: str) -> list[tuple[str, Any]]:
    """One meaning for several wordings."""
    return [(pattern + suffix, answer) for pattern in patterns]


def asks(family: str, answer: Callable[..., str], *patterns: str) -> list[Rule]:
    return rules(r"\?", lambda *parts: Reading(family, answer(*parts)), *patterns)


VQA: list[Rule] = [
    *asks(
        "what color", lambda scene, name: query(scene, name, "color"),
        "What color is the (.+)", "What is the color of the (.+)",
        "Which color does the (.+) have", "The (.+) is what color",
    ),
    *asks(
        "what is the", lambda scene, name: query(scene, name, "shape"),
        "What is the (?!color of|number of)(.+)", "What shape is the (.+)",
        "What kind of shape is the (.+)",
    ),
    *asks(
        "how many", lambda scene, name: str(len(all_of(scene, name))),
        "How many (.+) are there", "How many (.+) do you see", "What is the number of (.+)",
        "How many (.+) are in the picture",
    ),
    *asks(
        "is there", lambda scene, name: yes(bool(all_of(scene, name))),
        "Is there (an? .+)", "Is (an? .+) in the picture", "Do you see (an? .+)",
        "Can you see (an? .+) here",
    ),
]  # fmt: skip
VALUE, OPTION = f"{COLOR}|an? (?:{SHAPE})", f"{COLOR}|{SIZE}"
GQA: list[Rule] = [
    *rules(
        r"\?", lambda scene, kind, name: Reading(f"query {kind}", query(scene, name, kind)),
        "What (color|shape) is the (.+) in the image",
        "What is the (color|shape) of the (.+) that is shown",
    ),
    *rules(
        r"\?", verify,
        rf"Is the ((?:(?! or ).)+) ({VALUE})", rf"Does it look like the (.+) is ({VALUE})",
    ),
    *rules(
        r"\?", choose,
        rf"Is the (.+) ({OPTION}) or ({OPTION})", rf"Which is the (.+), ({OPTION}) or ({OPTION})",
    ),
    *asks(
        "choose side", lambda scene, name: "left" if the(scene, name).column < 2 else "right",
        "On which side of the image is the (.+), the left or the right",
    ),
    *asks(
        "choose side", lambda scene, name: "top" if the(scene, name).row < 2 else "bottom",
        "In which part of the image is the (.+), the top or the bottom",
    ),
    *asks(
        "verify relation", lambda scene, *parts: yes(relation(scene, *parts)),
        "Is (?:the|there an?) (.+) (to the left of|to the right of|above|below) the (.+)",
    ),
    *rules(
        r"\?", same,
        "Do the (.+) and the (.+) have the same (color|shape|size)",
        "Are the (.+) and the (.+) the same (color|shape|size)",
    ),
    *asks(
        "logical and", lambda scene, *names: yes(all(all_of(scene, name) for name in names)),
        "Are there both (.+) and (.+)",
    ),
    *asks(
        "logical or", lambda scene, *names: yes(any(all_of(scene, name) for name in names)),
        "Is there either (.+) or (.+)",
    ),
]  # fmt: skip


def read(rules: Sequence[tuple[str, Any]], text: str, subject: Any) -> Any:
    """What a sentence says of a scene or pair; exactly one rule must fit its words."""
    fitting = [
        (rule, match.groups()) for pattern, rule in rules if (match := re.fullmatch(pattern, text))
    ]
    assert len(fitting) == 1, f"{len(fitting)} rules fit: {text}"
    rule, groups = fitting[0]
    return rule(subject, *groups)


def _counts(pair: Sequence[Scene], phrase: str) -> tuple[int, int]:
    left, right = (len(all_of(scene, phrase)) for scene in pair)
    return left, right


def more(pair: Sequence[Scene], name: str, side: str) -> bool:
    counts = _counts(pair, name)[:: 1 if side == "left" else -1]
    return counts[0] > counts[1]


def on(pair: Sequence[Scene], side: str, name: str) -> int:
    return _counts(pair, name)[("left", "right").index(side)]


STATEMENTS: list[tuple[str, Callable[..., bool]]] = [
    *rules(
        r"\.", lambda pair, name: min(_counts(pair, name)) > 0,
        "Both images contain (an? .+)", "There is (an? .+) in each image",
        "(An? .+) can be seen in both pictures",
    ),
    *rules(
        r"\.", lambda pair, name: sorted(map(bool, _counts(pair, name))) == [False, True],
        "Only one of the images contains (an? .+)", "Exactly one image has (.+) in it",
    ),
    *rules(
        r"\.", lambda pair, side, name: on(pair, side, name) > 0,
        "The (left|right) image contains (an? .+)",
    ),
    *rules(
        r"\.", lambda pair, name, side: on(pair, side, name) > 0,
        "There is (an? .+) in the (left|right) image",
        "At least one (.+) is in the image on the (left|right)",
    ),
    *rules(
        r"\.", lambda pair, side, n, name: on(pair, side, name) == NUMBERS[n],
        "The (left|right) image shows exactly (one|two) (.+)",
    ),
    *rules(
        r"\.", lambda pair, n, name, side: on(pair, side, name) == NUMBERS[n],
        "There (?:is|are) exactly (one|two) (.+) in the (left|right) image",
    ),
    *rules(
        r"\.", lambda pair, side, name: more(pair, name, side),
        "The (left|right) image has more (.+) than the other one",
    ),
    *rules(
        r"\.", more,
        "There are more (.+) on the (left|right) than on the (?:left|right)",
    ),
]  # fmt: skip


def _fit(scene: Scene, phrases: Sequence[str]) -> Iterator[tuple[Thing, ...]]:
    """The ways in which the phrases can mean things of the scene, each another one."""
    for things in permutations(scene.things, len(phrases)):
        if all(
            thing in all_of(scene, phrase) for thing, phrase in zip(things, phrases, strict=True)
        ):
            yield things


OPENING = r"(?:There is |You can see |A picture with |An image of )?"
ENDING = r"(?: in the picture| on a light background)?"


def describes(caption: str, scene: Scene) -> bool:
    """Whether a caption is true of a scene."""
    match = re.fullmatch(f"{OPENING}(.+?){ENDING}", caption.removesuffix("."))
    assert match is not None
    return any(_fit(scene, match[1].split(" and ")))
