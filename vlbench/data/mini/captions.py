"""Captions of the mini COCO: five people describing one picture, each in words of their own."""

from __future__ import annotations

from random import Random

from vlbench.data.mini.referring import article
from vlbench.data.mini.world import Scene, Thing

MOST = 2
"""Things that people mention: large ones sooner, then in reading order."""
NOUNS = ("thing", "object", "shape")
OPENINGS = ("", "", "there is ", "you can see ", "a picture with ", "an image of ")
ENDINGS = ("", "", "", " in the picture", " on a light background")


def _mentioned(scene: Scene, random: Random) -> list[Thing]:
    """What somebody mentions, in reading order; sometimes one thing less than others do."""
    ranked = sorted(scene.things, key=lambda thing: (thing.size != "large", thing))
    most = MOST - 1 if random.random() < 0.3 else MOST
    return sorted(ranked[:most])


def _name(thing: Thing, random: Random) -> str:
    """A thing with an article, as exactly as people are: `a small red star`, `a red thing`."""
    size = f"{thing.size} " if random.random() < 0.4 else ""
    color = f"{thing.color} " if random.random() < 0.85 else ""
    noun = thing.shape if random.random() < 0.75 else random.choice(NOUNS)
    return article(f"{size}{color}{noun}")


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _caption(scene: Scene, random: Random) -> str:
    names = [_name(thing, random) for thing in _mentioned(scene, random)]
    if random.random() < 0.3:
        random.shuffle(names)
    opening, ending = random.choice(OPENINGS), random.choice(ENDINGS)
    is_told = opening.startswith("a")  # that it is a picture
    text = opening + _listed(names) + ("" if is_told else ending)
    return text[0].upper() + text[1:] + random.choice((".", ".", ".", ""))


def captions(scene: Scene, random: Random) -> list[str]:
    """Five captions, all different."""
    written: dict[str, None] = {}
    while len(written) < 5:
        written[_caption(scene, random)] = None
    return list(written)
