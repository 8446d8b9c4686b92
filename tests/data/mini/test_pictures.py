"""The world of the pictures."""

from __future__ import annotations

from itertools import islice
from random import Random

import numpy as np
from numpy.typing import NDArray

from vlbench.data.mini.world import GRID, PARTS, SHARES, Scene, draw, scenes


def test_scenes_of_a_part_are_all_different_and_belong_to_it_however_they_are_drawn() -> None:
    assert sum(SHARES) == 100 and len(SHARES) == len(PARTS)
    for part in PARTS:
        drawn = list(islice(scenes(part, Random(1)), 200))
        assert {scene.part for scene in drawn} == {part}
        assert {Scene(scene.things, scene.look + 1).part for scene in drawn} == {part}
        assert len({scene.things for scene in drawn}) == 200
        for scene in drawn:  # one to five things in reading order, one to a cell
            cells = [(thing.row, thing.column) for thing in scene.things]
            assert 1 <= len(cells) <= 5 and cells == sorted(set(cells))
            assert all(0 <= number < GRID for cell in cells for number in cell)


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
    cells = {}
    for row in range(4):
        for column in range(4):
            block = pixels[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16].reshape(-1, 3)
            distance = np.abs(block - paper).sum(axis=1)
            painted = block[np.argsort(-distance)][: (distance > 60).sum()]
            if len(painted) > 12:  # a large thing may reach a little over its cell's edge
                cells[row, column] = painted
    return cells


def test_the_picture_shows_each_thing_in_its_cell_and_colour() -> None:
    for scene in islice(scenes("pretraining", Random(4)), 60):
        painted = cells(scene)
        assert set(painted) == {(thing.row, thing.column) for thing in scene.things}
        for thing in scene.things:
            color = np.median(painted[thing.row, thing.column][:12], axis=0)
            distances = {name: np.abs(look - color).sum() for name, look in LOOKS.items()}
            assert min(distances, key=distances.__getitem__) == thing.color
