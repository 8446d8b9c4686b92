"""Naming things in a scene: by colour, shape, size, or a mix of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from random import Random

from vlbench.data.mini.world import COLORS, SHAPES, SIZES, Scene, Thing

KINDS = ("size", "color", "shape")
VALUES = {"size": SIZES, "color": COLORS, "shape": SHAPES}
MIXES = [mix for length in (1, 2, 3) for mix in combinations(KINDS, length)]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing, such as `small star` or `red thing`; None leaves that attribute open."""

    size: str | None = None
    color: str | None = None
    shape: str | None = None

    def holds(self, thing: Thing) -> bool:
        """Whether the thing is of this kind."""
        return (
            self.size in (None, thing.size)
            and self.color in (None, thing.color)
            and self.shape in (None, thing.shape)
        )

    def count(self, scene: Scene) -> int:
        """How many things of this kind the scene shows."""
        return sum(self.holds(thing) for thing in scene.things)

    def name(self, noun: str, plural: bool = False) -> str:
        """`small red star`, or with the noun where the shape is left open: `small red thing`."""
        word = self.shape or noun
        if plural:
            word += "es" if word.endswith("s") else "s"
        return " ".join(part for part in (self.size, self.color, word) if part)

    @property
    def form(self) -> str:
        """Which attributes it names: `color+shape`."""
        return "+".join(kind for kind in KINDS if getattr(self, kind))


def kind_of(thing: Thing, mix: tuple[str, ...]) -> Kind:
    """The thing's kind as far as the attributes of `mix` go."""
    return Kind(**{attribute: getattr(thing, attribute) for attribute in mix})


def article(name: str) -> str:
    """The name with `a` or `an` in front."""
    return ("an " if name[0] in "aeiou" else "a ") + name


def unique_kind(scene: Scene, thing: Thing, random: Random, without: str = "") -> Kind | None:
    """A kind that only this thing is of, short ones first, never naming the attribute `without`."""
    mixes = [mix for mix in MIXES if without not in mix]
    random.shuffle(mixes)
    for mix in sorted(mixes, key=len):
        kind = kind_of(thing, mix)
        if kind.count(scene) == 1:
            return kind
    return None


def present_kind(scene: Scene, random: Random) -> Kind:
    """A kind the scene shows at least once."""
    return kind_of(random.choice(scene.things), random.choice(MIXES))


def absent_kind(scene: Scene, random: Random) -> Kind:
    """A kind the scene does not show, mostly a mix of what it does show: a distractor."""
    while True:
        mix = random.choice(MIXES)
        drawn = {}
        for attribute in mix:
            shown = [getattr(thing, attribute) for thing in scene.things]
            drawn[attribute] = random.choice(shown if random.random() < 0.6 else VALUES[attribute])
        kind = Kind(**drawn)
        if kind.count(scene) == 0:
            return kind
