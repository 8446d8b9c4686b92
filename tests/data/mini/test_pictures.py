"""The world of the pictures, and what is said of them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from itertools import islice, pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from vlbench.data.mini import records, world
from vlbench.data.mini.captions import captions
from vlbench.data.mini.questions import GQA_FAMILIES, VQA_FAMILIES, Balance, ask
from vlbench.data.mini.statements import STATEMENTS
from vlbench.data.mini.world import (
    COLORS,
    COVERED,
    GRID,
    NEAR,
    PARTS,
    SHAPES,
    SHARES,
    Kind,
    Scene,
    draw,
    scenes,
)
from vlbench.data.mini.write import write_mini


def test_scenes_of_a_part_are_all_different_and_belong_to_it_however_they_are_drawn() -> None:
    assert sum(SHARES) == 100 and len(SHARES) == len(PARTS)
    for part in PARTS:
        drawn = list(islice(scenes(part, Random(1)), 200))
        assert {scene.part for scene in drawn} == {part}
        assert {Scene(scene.things, scene.look + 1).part for scene in drawn} == {part}
        assert len({scene.things for scene in drawn}) == 200
        for scene in drawn:  # two to six things in reading order, one to a cell
            cells = [(thing.row, thing.column) for thing in scene.things]
            assert 2 <= len(cells) <= 6 and cells == sorted(set(cells))
            assert all(0 <= number < GRID for cell in cells for number in cell)


LOOKS = {  # the colours as a person would name them, not copied from the drawing code
    "red": (215, 40, 40), "orange": (250, 130, 30), "yellow": (245, 205, 45),
    "green": (45, 150, 60), "cyan": (60, 195, 205), "blue": (45, 85, 200),
    "purple": (125, 60, 165), "pink": (240, 130, 180), "brown": (125, 80, 45),
    "gray": (120, 120, 125),
}  # fmt: skip


def cells(scene: Scene, covered: float = COVERED) -> dict[tuple[int, int], NDArray[np.int64]]:
    """(row, column) -> the (n, 3) pixels there that are not paper, the least mixed first."""
    pixels = np.asarray(draw(scene, covered)).astype(int)
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


def nearest_color(painted: NDArray[np.int64]) -> str:
    color = np.median(painted[:12], axis=0)
    distances = {name: np.abs(look - color).sum() for name, look in LOOKS.items()}
    return min(distances, key=distances.__getitem__)


def test_without_shades_and_covers_each_thing_is_plain_to_see(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(world, "SHADE", 0.0)
    for scene in islice(scenes("pretraining", Random(4)), 60):
        painted = cells(scene, covered=0.0)
        assert set(painted) == {(thing.row, thing.column) for thing in scene.things}
        for thing in scene.things:
            assert nearest_color(painted[thing.row, thing.column]) == thing.color


def test_shades_lead_to_neighbours_alone_and_some_things_are_hardly_seen() -> None:
    assert all(set(near) < {*COLORS} - {color} for color, near in NEAR.items())
    right, total = 0, 0
    for scene in islice(scenes("pretraining", Random(4)), 200):
        painted = cells(scene)
        for thing in scene.things:
            total += 1
            if (thing.row, thing.column) in painted:
                right += nearest_color(painted[thing.row, thing.column]) == thing.color
    assert 0.5 < right / total < 0.9


def test_counts_go_from_one_to_five_and_answers_of_a_family_are_balanced() -> None:
    random, balance = Random(2), Balance()
    for scene in islice(scenes("train", random), 500):
        ask(scene, VQA_FAMILIES, 8, balance, random)
        ask(scene, GQA_FAMILIES, 4, balance, random)
    of_family: dict[str, Counter[str]] = defaultdict(Counter)
    for (family, _, answer), number in balance.items():
        of_family[family][answer] += number
    assert set(of_family["how many"]) == set("12345")
    for answers in of_family.values():
        assert max(answers.values()) < 1.4 * answers.total() / min(len(answers), 4)


def test_whoever_finds_a_thing_somewhere_in_a_pair_knows_nothing_of_the_statement(
    tmp_path: Path,
) -> None:
    """The oracle: "true" where the named thing is in either picture; and each sentence alone."""
    drawn: dict[str, Scene] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "save_picture", lambda scene, path: drawn.update({path.stem: scene}))
        sizes = {"coco": {}, "gqa": {}, "nlvr2": {"train": 150}}
        write_mini(tmp_path, 0, sizes)
    lines = (tmp_path / "nlvr2/train.json").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    kinds = {f"{name}{s}": {"shape": name} for name in SHAPES for s in ("", "s", "es")}
    kinds |= {f"{color} shape{s}": {"color": color} for color in COLORS for s in ("", "s")}
    right: list[bool] = []
    truths: dict[tuple[str, str], set[bool]] = defaultdict(set)
    for row in rows:
        stem, label = row["identifier"].rpartition("-")[0], row["label"] == "True"
        words = row["sentence"].lower().rstrip(".").split()
        pairs = {*words, *map(" ".join, pairwise(words))}
        (named,) = [kind for name, kind in kinds.items() if name in pairs]
        shown = [Kind(**named).count(drawn[f"{stem}-img{side}"]) > 0 for side in (0, 1)]
        right.append(any(shown) == label)
        truths[stem.rpartition("-")[0], row["sentence"]].add(label)
    assert 0.45 < np.mean(right) < 0.55
    assert all(labels == {True, False} for labels in truths.values())
    assert {row["synset"] for row in rows} == set(STATEMENTS)


def test_captions_tell_of_one_scene_in_five_ways() -> None:
    random, lengths = Random(5), set()
    for scene in islice(scenes("test", random), 100):
        told = captions(scene, random)
        assert len(set(told)) == 5 and all(text[0].isupper() for text in told)
        lengths |= {len(text.split()) for text in told}
    assert min(lengths) <= 3 and max(lengths) >= 10
