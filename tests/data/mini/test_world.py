from __future__ import annotations

from itertools import islice
from random import Random

from vlbench.data.mini.world import GRID, PARTS, SHARES, scenes


def test_scenes_of_a_part_are_all_different_and_belong_to_it() -> None:
    for part in PARTS:
        drawn = list(islice(scenes(part, Random(1)), 200))
        assert {scene.part for scene in drawn} == {part}
        assert len({scene.things for scene in drawn}) == 200


def test_a_scene_shows_one_to_five_things_in_reading_order_one_to_a_cell() -> None:
    for scene in islice(scenes("pretraining", Random(2)), 300):
        cells = [(thing.row, thing.column) for thing in scene.things]
        assert 1 <= len(cells) <= 5 and cells == sorted(set(cells))
        assert all(0 <= each < GRID for cell in cells for each in cell)


def test_the_part_does_not_depend_on_how_a_scene_is_drawn() -> None:
    drawn = next(scenes("val", Random(3)))
    assert type(drawn)(drawn.things, drawn.look + 1).part == "val"


def test_the_shares_of_the_parts_are_a_whole() -> None:
    assert sum(SHARES) == 100 and len(SHARES) == len(PARTS)


def test_no_scene_is_in_two_splits_of_any_task_nor_in_pretraining(edition) -> None:
    shown = {
        part: {
            scene.things
            for (_, own), examples in edition.examples.items()
            if own == part
            for example in examples
            for scene in edition.scenes_of(example)
        }
        for part in ("train", "val", "test")
    }
    shown["pretraining"] = {
        scene.things for scene in islice(scenes("pretraining", Random(0)), 5000)
    }
    assert len(set().union(*shown.values())) == sum(map(len, shown.values()))
