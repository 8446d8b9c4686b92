"""The things that a phrase fits, read anew from its words: shares no code with the writer."""

from __future__ import annotations

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
