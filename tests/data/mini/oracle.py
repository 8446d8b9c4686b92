"""What is true of a scene, read anew from the words: shares no code with what wrote them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from typing import NamedTuple

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
}
NOUNS = ["thing", "object", "shape", "item"]
NUMBERS = {"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
COLOR, SIZE, SHAPE = ("|".join(WORDS[kind]) for kind in ("color", "size", "shape"))


class Found(NamedTuple):
    """What an oracle reads from a sentence: the family it belongs to, and the answer."""

    family: str
    answer: str


def wanted(phrase: str) -> dict[str, str]:
    """`a small red star` -> what it says of size, colour and shape."""
    words = phrase.lower().split()
    if words[0] in ("a", "an", "the"):
        words = words[1:]
    singular = {noun + ("es" if noun.endswith("s") else "s"): noun for noun in NOUNS}
    singular |= {shape + ("es" if shape == "cross" else "s"): shape for shape in WORDS["shape"]}
    noun = singular.get(words[-1], words[-1])
    assert noun in NOUNS or noun in WORDS["shape"], phrase
    told = {} if noun in NOUNS else {"shape": noun}
    for word in words[:-1]:
        [kind] = [kind for kind in ("size", "color") if word in WORDS[kind]]
        assert kind not in told, phrase
        told[kind] = word
    return told


def all_of(scene: Scene, phrase: str) -> list[Thing]:
    """The things that a phrase fits."""
    told = wanted(phrase)
    return [
        thing
        for thing in scene.things
        if all(getattr(thing, kind) == value for kind, value in told.items())
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


def choose(scene: Scene, phrase: str, one: str, other: str) -> Found:
    kind = kind_of_value(one)
    value = getattr(the(scene, phrase), kind)
    assert one != other and value in (one, other) and kind not in wanted(phrase)
    return Found(f"choose {kind}", value)


def query(scene: Scene, phrase: str, kind: str) -> str:
    assert kind not in wanted(phrase), "the question gives its answer away"
    return str(getattr(the(scene, phrase), kind))


def verify(scene: Scene, phrase: str, value: str) -> Found:
    kind = kind_of_value(value)
    return Found(f"verify {kind}", yes(query(scene, phrase, kind) == value.split()[-1]))


def same(scene: Scene, one: str, other: str, kind: str) -> Found:
    first, second = the(scene, one), the(scene, other)
    return Found(f"same {kind}", yes(getattr(first, kind) == getattr(second, kind)))


Rule = tuple[str, Callable[..., Found]]
VQA: list[Rule] = [
    (
        rf"{pattern}\?",
        lambda scene, phrase: Found("what color", query(scene, phrase, "color")),
    )
    for pattern in (
        "What color is the (.+)",
        "What is the color of the (.+)",
        "Which color does the (.+) have",
        "The (.+) is what color",
    )
]
VQA += [
    (
        rf"{pattern}\?",
        lambda scene, phrase: Found("what is the", query(scene, phrase, "shape")),
    )
    for pattern in (
        r"What is the (?!color of|number of)(.+)",
        "What shape is the (.+)",
        "What kind of shape is the (.+)",
    )
]
VQA += [
    (
        rf"{pattern}\?",
        lambda scene, phrase: Found("how many", str(len(all_of(scene, phrase)))),
    )
    for pattern in (
        "How many (.+) are there",
        "How many (.+) do you see",
        "What is the number of (.+)",
        "How many (.+) are in the picture",
    )
]
VQA += [
    (
        rf"{pattern}\?",
        lambda scene, phrase: Found("is there", yes(bool(all_of(scene, phrase)))),
    )
    for pattern in (
        "Is there (an? .+)",
        "Is (an? .+) in the picture",
        "Do you see (an? .+)",
        "Can you see (an? .+) here",
    )
]

GQA: list[Rule] = [
    (
        r"What (color|shape) is the (.+) in the image\?",
        lambda scene, kind, phrase: Found(f"query {kind}", query(scene, phrase, kind)),
    ),
    (
        r"What is the (color|shape) of the (.+) that is shown\?",
        lambda scene, kind, phrase: Found(f"query {kind}", query(scene, phrase, kind)),
    ),
    (rf"Is the ((?:(?! or ).)+) ({COLOR}|an? (?:{SHAPE}))\?", verify),
    (rf"Does it look like the (.+) is ({COLOR}|an? (?:{SHAPE}))\?", verify),
    (rf"Is the (.+) ({COLOR}|{SIZE}) or ({COLOR}|{SIZE})\?", choose),
    (rf"Which is the (.+), ({COLOR}|{SIZE}) or ({COLOR}|{SIZE})\?", choose),
    (
        r"On which side of the image is the (.+), the left or the right\?",
        lambda scene, phrase: Found(
            "choose side", "left" if the(scene, phrase).column in (0, 1) else "right"
        ),
    ),
    (
        r"In which part of the image is the (.+), the top or the bottom\?",
        lambda scene, phrase: Found(
            "choose side", "top" if the(scene, phrase).row in (0, 1) else "bottom"
        ),
    ),
    (
        r"Is (?:the|there an?) (.+) (to the left of|to the right of|above|below) the (.+)\?",
        lambda scene, *parts: Found("verify relation", yes(relation(scene, *parts))),
    ),
    (r"Do the (.+) and the (.+) have the same (color|shape|size)\?", same),
    (r"Are the (.+) and the (.+) the same (color|shape|size)\?", same),
    (
        r"Are there both (.+) and (.+)\?",
        lambda scene, one, other: Found(
            "logical and", yes(bool(all_of(scene, one)) and bool(all_of(scene, other)))
        ),
    ),
    (
        r"Is there either (.+) or (.+)\?",
        lambda scene, one, other: Found(
            "logical or", yes(bool(all_of(scene, one)) or bool(all_of(scene, other)))
        ),
    ),
]


def read(rules: Sequence[Rule], text: str, scene: Scene) -> Found:
    """Family and answer of a question; exactly one rule must fit its words."""
    fitting = [
        (rule, match.groups()) for pattern, rule in rules if (match := re.fullmatch(pattern, text))
    ]
    assert len(fitting) == 1, f"{len(fitting)} rules fit: {text}"
    rule, groups = fitting[0]
    return rule(scene, *groups)


def _counts(pair: Sequence[Scene], phrase: str) -> tuple[int, int]:
    left, right = (len(all_of(scene, phrase)) for scene in pair)
    return left, right


SIDES = {"left": 0, "right": 1}
STATEMENTS: list[tuple[str, Callable[..., bool]]] = [
    (
        rf"{pattern}\.",
        lambda pair, phrase: min(_counts(pair, phrase)) > 0,
    )
    for pattern in (
        "Both images contain (an? .+)",
        "There is (an? .+) in each image",
        "(An? .+) can be seen in both pictures",
    )
]
STATEMENTS += [
    (
        rf"{pattern}\.",
        lambda pair, phrase: sorted(map(bool, _counts(pair, phrase))) == [False, True],
    )
    for pattern in ("Only one of the images contains (an? .+)", "Exactly one image has (.+) in it")
]
STATEMENTS += [
    (
        r"The (left|right) image contains (an? .+)\.",
        lambda pair, side, phrase: _counts(pair, phrase)[SIDES[side]] > 0,
    ),
    (
        r"There is (an? .+) in the (left|right) image\.",
        lambda pair, phrase, side: _counts(pair, phrase)[SIDES[side]] > 0,
    ),
    (
        r"At least one (.+) is in the image on the (left|right)\.",
        lambda pair, phrase, side: _counts(pair, phrase)[SIDES[side]] > 0,
    ),
    (
        r"The (left|right) image shows exactly (one|two) (.+)\.",
        lambda pair, side, n, phrase: _counts(pair, phrase)[SIDES[side]] == NUMBERS[n],
    ),
    (
        r"There (?:is|are) exactly (one|two) (.+) in the (left|right) image\.",
        lambda pair, n, phrase, side: _counts(pair, phrase)[SIDES[side]] == NUMBERS[n],
    ),
    (
        r"The (left|right) image has more (.+) than the other one\.",
        lambda pair, side, phrase: (
            _counts(pair, phrase)[SIDES[side]] > _counts(pair, phrase)[1 - SIDES[side]]
        ),
    ),
    (
        r"There are more (.+) on the (left|right) than on the (?:left|right)\.",
        lambda pair, phrase, side: (
            _counts(pair, phrase)[SIDES[side]] > _counts(pair, phrase)[1 - SIDES[side]]
        ),
    ),
]


def is_true(text: str, pair: Sequence[Scene]) -> bool:
    """Whether a statement holds of (left, right); exactly one rule must fit its words."""
    fitting = [
        (rule, match.groups())
        for pattern, rule in STATEMENTS
        if (match := re.fullmatch(pattern, text))
    ]
    assert len(fitting) == 1, f"{len(fitting)} rules fit: {text}"
    rule, groups = fitting[0]
    return rule(pair, *groups)


def _is_at(thing: Thing, place: str) -> bool:
    vertical, horizontal = {0: "top", 3: "bottom"}, {0: "left", 3: "right"}
    words = [vertical.get(thing.row), horizontal.get(thing.column)]
    return place.split() == ([word for word in words if word] or ["middle"])


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
