from __future__ import annotations

from itertools import islice
from random import Random

import numpy as np
from numpy.typing import NDArray

from vlbench.data.mini.world import SIDE, Scene, Thing, draw, scenes

LOOKS = {  # the colours as a person would name them, not copied from the drawing code
    "red": (215, 40, 40), "orange": (250, 130, 30), "yellow": (245, 205, 45),
    "green": (45, 150, 60), "cyan": (60, 195, 205), "blue": (45, 85, 200),
    "purple": (125, 60, 165), "pink": (240, 130, 180), "brown": (125, 80, 45),
    "gray": (120, 120, 125),
}  # fmt: skip


def cells(scene: Scene) -> dict[tuple[int, int], NDArray[np.int64]]:
    """(row, column) -> the (n, 3) pixels there that are not paper, the least mixed first."""
    pixels = np.asarray(draw(scene)).astype(int)
    paper = np.median(pixels.reshape(-1, 3), axis=0)
    found = {}
    for row in range(4):
        for column in range(4):
            block = pixels[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16].reshape(-1, 3)
            distance = np.abs(block - paper).sum(axis=1)
            painted = block[np.argsort(-distance)][: (distance > 60).sum()]
            if len(painted) > 12:  # a large thing may reach a little over its cell's edge
                found[row, column] = painted
    return found


def test_the_picture_shows_each_thing_in_its_cell_and_colour() -> None:
    for scene in islice(scenes("pretraining", Random(4)), 60):
        found = cells(scene)
        assert set(found) == {(thing.row, thing.column) for thing in scene.things}
        for thing in scene.things:
            seen = np.median(found[thing.row, thing.column][:12], axis=0)
            distances = {name: np.abs(look - seen).sum() for name, look in LOOKS.items()}
            assert min(distances, key=distances.__getitem__) == thing.color


def test_a_large_thing_covers_more_than_a_small_one() -> None:
    for shape in ("circle", "square", "triangle", "star", "cross"):
        areas = []
        for size in ("small", "large"):
            things = (Thing(1, 1, "blue", shape, size),)
            areas.append(len(cells(Scene(things, 7))[1, 1]))
        assert areas[1] > 2 * areas[0]


def test_the_same_look_gives_the_same_pixels_and_another_look_others() -> None:
    scene = next(scenes("train", Random(5)))
    again = Scene(scene.things, scene.look + 1)
    assert draw(scene).size == (SIDE, SIDE) and draw(scene).mode == "RGB"
    assert draw(scene).tobytes() == draw(scene).tobytes() != draw(again).tobytes()
