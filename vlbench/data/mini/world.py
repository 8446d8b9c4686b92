"""Scenes of the mini world: two to six coloured shapes, each in a cell of a 4 x 4 grid.

Their kinds are named by colour, shape, size, or a mix of them. A scene is drawn as a picture of
64 x 64 pixels, each cell 16 wide; colours shade into their neighbours, and strips of paper cover
parts of shapes, so that what is seen is clear more or less, never clear to everybody.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from random import Random

from PIL import Image, ImageDraw

RGB = {
    "red": (214, 40, 40), "orange": (245, 130, 32), "yellow": (245, 205, 40),
    "green": (50, 150, 60), "cyan": (60, 195, 205), "blue": (45, 85, 200),
    "purple": (125, 60, 165), "pink": (240, 130, 180), "brown": (125, 80, 45),
    "gray": (120, 122, 125),
}  # fmt: skip
COLORS = tuple(RGB)
NEAR = {
    "red": ("orange", "pink", "brown"), "orange": ("red", "yellow", "brown"),
    "yellow": ("orange", "green"), "green": ("yellow", "cyan", "gray"),
    "cyan": ("green", "blue", "gray"), "blue": ("cyan", "purple"),
    "purple": ("blue", "pink"), "pink": ("purple", "red"), "brown": ("red", "orange", "gray"),
    "gray": ("brown", "cyan", "green"),
}  # fmt: skip
"""The colours that each one shades into."""
SHADE = 0.52  # how far at most: from 0.5 on the neighbour is the nearer one
COVERED = 0.45  # the share of shapes that a strip covers a part of, in pretraining
COVERED_IN_TASKS = 1.0  # with the pretraining's share full fine-tuning is near 95 % of VQAv2
STRIP = (1.2, 1.7)  # how deep the strip is, in radii, from 1.2 radii off the centre inwards
SHAPES = ("circle", "square", "triangle", "star", "cross")
SIZES = ("small", "large")
KINDS = ("size", "color", "shape")
VALUES = {"size": SIZES, "color": COLORS, "shape": SHAPES}
MIXES = [mix for length in (1, 2, 3) for mix in combinations(KINDS, length)]
GRID = 4
SIDE = 64
SCALE = 3  # drawn so much larger, then scaled down: smooth edges
RADIUS = {"small": 2.7, "large": 6.2}
CORNERS = {  # from the centre, in radii
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "triangle": ((0, -1), (1, 0.8), (-1, 0.8)),
    "star": tuple(
        (radius * math.cos(angle), radius * math.sin(angle))
        for k in range(10)
        for radius, angle in [(0.45 if k % 2 else 1.1, -math.pi / 2 + k * math.pi / 5)]
    ),
    "cross": (
        (-0.34, -1), (0.34, -1), (0.34, -0.34), (1, -0.34), (1, 0.34), (0.34, 0.34),
        (0.34, 1), (-0.34, 1), (-0.34, 0.34), (-1, 0.34), (-1, -0.34), (-0.34, -0.34),
    ),
}  # fmt: skip

PARTS = ("pretraining", "train", "val", "test")
SHARES = (50, 30, 6, 14)
"""Percent of all possible scenes, and of all possible clips, that belong to each part."""


@dataclass(frozen=True, slots=True, order=True)
class Thing:
    """One shape in the picture; `row` 0 is the top, `column` 0 the left."""

    row: int
    column: int
    color: str
    shape: str
    size: str


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows, in reading order, and the seed of how it is drawn."""

    things: tuple[Thing, ...]
    look: int

    @property
    def part(self) -> str:
        """The one part this scene belongs to: a hash of what it shows, so parts never share one."""
        return part_of(repr([(t.row, t.column, t.color, t.shape, t.size) for t in self.things]))


def part_of(content: str) -> str:
    """The part that a scene or clip of this content belongs to, by its hash."""
    slot = int.from_bytes(hashlib.sha256(content.encode()).digest()[:4], "big") % 100
    return next(part for n, part in enumerate(PARTS) if slot < sum(SHARES[: n + 1]))


def scenes(part: str, random: Random) -> Iterator[Scene]:
    """Endless scenes of one part, none twice."""
    seen: set[tuple[Thing, ...]] = set()
    while True:
        scene = Scene(_draw_things(random), random.getrandbits(32))
        if scene.part == part and scene.things not in seen:
            seen.add(scene.things)
            yield scene


def _draw_things(random: Random) -> tuple[Thing, ...]:
    """Two to six things; most scenes repeat a shape or a colour, or its neighbours, or a size."""
    number = random.choices((2, 3, 4, 5, 6), (16, 26, 26, 18, 14))[0]
    cells = random.sample(range(GRID * GRID), number)
    theme = random.choice(("color", "shape", "size", "near", ""))
    color, shape, size = (random.choice(values) for values in (COLORS, SHAPES, SIZES))
    things = []
    for cell in cells:
        repeated = theme if random.random() < 0.75 else ""
        colors = {"color": (color,), "near": (color, *NEAR[color])}.get(repeated, COLORS)
        shapes = (shape,) if repeated == "shape" else SHAPES
        sizes = (size,) if repeated == "size" else SIZES
        row, column = divmod(cell, GRID)
        values = (random.choice(values) for values in (colors, shapes, sizes))
        things.append(Thing(row, column, *values))
    return tuple(sorted(things))


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing, such as `small star` or `red thing`; None leaves that attribute open."""

    size: str | None = None
    color: str | None = None
    shape: str | None = None

    def count(self, scene: Scene) -> int:
        """How many things of this kind the scene shows."""
        return sum(
            all(getattr(self, key) in (None, getattr(thing, key)) for key in KINDS)
            for thing in scene.things
        )

    def name(self, noun: str, plural: bool = False) -> str:
        """`small red star`, or with the noun where the shape is left open: `small red thing`."""
        word = self.shape or noun
        if plural:
            word += "es" if word.endswith("s") else "s"
        return " ".join(part for part in (self.size, self.color, word) if part)

    @property
    def mix(self) -> tuple[str, ...]:
        """Which attributes it names."""
        return tuple(kind for kind in KINDS if getattr(self, kind))

    @property
    def form(self) -> str:
        """Which attributes it names: `color+shape`."""
        return "+".join(self.mix)


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
    kinds = (kind_of(thing, mix) for mix in sorted(mixes, key=len))
    return next((kind for kind in kinds if kind.count(scene) == 1), None)


def present_kind(scene: Scene, random: Random) -> Kind:
    """A kind the scene shows at least once."""
    return kind_of(random.choice(scene.things), random.choice(MIXES))


def absent_kind(scene: Scene, random: Random) -> Kind:
    """A kind the scene does not show, mostly a mix of what it does show: a distractor.

    A colour may be a neighbour of one that is shown.
    """
    while True:
        values = {}
        for attribute in random.choice(MIXES):
            present = [getattr(thing, attribute) for thing in scene.things]
            pool = present if random.random() < 0.6 else VALUES[attribute]
            values[attribute] = random.choice(pool)
            if attribute == "color" and random.random() < 0.3:
                values[attribute] = random.choice(NEAR[values[attribute]])
        kind = Kind(**values)
        if kind.count(scene) == 0:
            return kind


def draw(scene: Scene, covered: float = COVERED) -> Image.Image:
    """The scene as an RGB picture; the same scene and look give the same pixels.

    A strip of paper covers a part of this share of its things.
    """
    random = Random(scene.look)
    paper = tuple(random.randint(226, 252) for _ in range(3))
    image = Image.new("RGB", (SIDE * SCALE, SIDE * SCALE), paper)
    canvas = ImageDraw.Draw(image)
    for thing in scene.things:
        x = (thing.column + 0.5) * (SIDE / GRID) + random.uniform(-1.5, 1.5)
        y = (thing.row + 0.5) * (SIDE / GRID) + random.uniform(-1.5, 1.5)
        r = RADIUS[thing.size] * random.uniform(0.93, 1.07)
        x, y, r = x * SCALE, y * SCALE, r * SCALE
        fill = _shaded(thing.color, random)
        if thing.shape == "circle":
            canvas.ellipse((x - r, y - r, x + r, y + r), fill=fill)
        else:
            canvas.polygon([(x + r * dx, y + r * dy) for dx, dy in CORNERS[thing.shape]], fill=fill)
        if random.random() < covered:
            _cover(canvas, x, y, r, tuple(shade - 14 for shade in paper), random)
    return image.resize((SIDE, SIDE), Image.Resampling.BOX)


def _shaded(color: str, random: Random) -> tuple[int, ...]:
    """The colour, mixed with one of its neighbours and a little noise."""
    share, other = random.uniform(0, SHADE), RGB[random.choice(NEAR[color])]
    mixed = (c + share * (o - c) for c, o in zip(RGB[color], other, strict=True))
    return tuple(max(0, min(255, round(c) + random.randint(-6, 6))) for c in mixed)


def _cover(
    canvas: ImageDraw.ImageDraw, x: float, y: float, r: float, fill: tuple[int, ...], random: Random
) -> None:
    """A strip of paper over one side of what is drawn at (x, y) with radius r."""
    side, depth = random.randrange(4), r * random.uniform(*STRIP)
    box = [x - 1.2 * r, y - 1.2 * r, x + 1.2 * r, y + 1.2 * r]
    box[side] = (x, y)[side % 2] + (1.2 * r - depth) * (1 if side < 2 else -1)
    canvas.rectangle(tuple(box), fill=fill)
