"""A scene as a 64 x 64 picture, each cell 16 pixels wide, drawn large and scaled down."""

from __future__ import annotations

import math
from random import Random

from PIL import Image, ImageDraw

from vlbench.data.mini.world import GRID, Scene, Thing

SIDE = 64
_SCALE = 3  # drawn so much larger, then scaled down: smooth edges
_RADIUS = {"small": 3.6, "large": 6.8}
_RGB = {
    "red": (214, 40, 40),
    "orange": (245, 130, 32),
    "yellow": (245, 205, 40),
    "green": (50, 150, 60),
    "cyan": (60, 195, 205),
    "blue": (45, 85, 200),
    "purple": (125, 60, 165),
    "pink": (240, 130, 180),
    "brown": (125, 80, 45),
    "gray": (120, 122, 125),
}


def _corners(shape: str, x: float, y: float, r: float) -> list[tuple[float, float]]:
    if shape == "square":
        s = r * 0.9
        return [(x - s, y - s), (x + s, y - s), (x + s, y + s), (x - s, y + s)]
    if shape == "triangle":
        return [(x, y - r), (x + r, y + r * 0.8), (x - r, y + r * 0.8)]
    if shape == "star":
        turns = [
            (-math.pi / 2 + k * math.pi / 5, r * (1.1 if k % 2 == 0 else 0.45)) for k in range(10)
        ]
        return [(x + d * math.cos(a), y + d * math.sin(a)) for a, d in turns]
    w = r * 0.34  # the half width of the cross's arms
    return [
        (x - w, y - r), (x + w, y - r), (x + w, y - w), (x + r, y - w),
        (x + r, y + w), (x + w, y + w), (x + w, y + r), (x - w, y + r),
        (x - w, y + w), (x - r, y + w), (x - r, y - w), (x - w, y - w),
    ]  # fmt: skip


def _paint(canvas: ImageDraw.ImageDraw, thing: Thing, random: Random) -> None:
    cell = SIDE / GRID
    x = (thing.column + 0.5) * cell + random.uniform(-1.5, 1.5)
    y = (thing.row + 0.5) * cell + random.uniform(-1.5, 1.5)
    r = _RADIUS[thing.size] * random.uniform(0.93, 1.07)
    x, y, r = x * _SCALE, y * _SCALE, r * _SCALE
    fill = tuple(max(0, min(255, c + random.randint(-9, 9))) for c in _RGB[thing.color])
    if thing.shape == "circle":
        canvas.ellipse((x - r, y - r, x + r, y + r), fill=fill)
    else:
        canvas.polygon(_corners(thing.shape, x, y, r), fill=fill)


def draw(scene: Scene) -> Image.Image:
    """The scene as an RGB picture; the same scene and look give the same pixels."""
    random = Random(scene.look)
    paper = tuple(random.randint(226, 252) for _ in range(3))
    image = Image.new("RGB", (SIDE * _SCALE, SIDE * _SCALE), paper)
    canvas = ImageDraw.Draw(image)
    for thing in scene.things:
        _paint(canvas, thing, random)
    return image.resize((SIDE, SIDE), Image.Resampling.BOX)
