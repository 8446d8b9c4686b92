"""The picture of score against cost."""

from __future__ import annotations

from pathlib import Path

from tests.leaderboard.builders import image_text, write
from tests.leaderboard.site.site_builders import boards
from vlbench.leaderboard.site.chart import Chart, make_chart
from vlbench.leaderboard.site.layout import Layout


def chart(folder: Path, *runs) -> Chart | None:
    [place] = Layout(boards(write(folder, *runs))).places
    return make_chart(place)


def test_floors_and_rows_without_an_average_are_left_out(tmp_path: Path) -> None:
    found = chart(
        tmp_path,
        image_text("full", 9, 9, 9, 9, trainable_parameters=1000),
        image_text("lora", 8, 8, 8, 8, trainable_parameters=100),
        image_text("adapter", 8, 8, 8, None),
        image_text("frozen", 1, 1, 1, 1),
    )
    assert found is not None
    assert {mark.entry.row.method for mark in found.marks} == {"full", "lora"}
    assert found.left_out == 1
    assert all(mark.on_frontier[0] for mark in found.marks)


def test_better_is_higher_and_cheaper_is_further_left(tmp_path: Path) -> None:
    found = chart(
        tmp_path,
        image_text("full", 9, 9, 9, 9, trainable_parameters=1000, sharing="task"),
        image_text("lora", 8, 8, 8, 8, trainable_parameters=100),
    )
    assert found is not None
    full, lora = found.marks
    assert full.y < lora.y
    assert full.xs[0] > lora.xs[0]
    assert (full.shape, lora.shape) == ("circle", "square")


def test_one_method_makes_no_chart(tmp_path: Path) -> None:
    assert chart(tmp_path, image_text("full", 9, 9, 9, 9)) is None


def test_a_cost_of_zero_has_no_place_on_a_log_axis(tmp_path: Path) -> None:
    found = chart(
        tmp_path,
        image_text("full", 9, 9, 9, 9, trainable_parameters=1000),
        image_text("lora", 8, 8, 8, 8, trainable_parameters=100),
        image_text("none", 7, 7, 7, 7, trainable_parameters=0),
    )
    assert found is not None
    assert [mark.xs[0] is None for mark in found.marks] == [False, False, True]


def test_where_all_are_below_a_floor_there_is_no_frontier(tmp_path: Path) -> None:
    found = chart(
        tmp_path,
        image_text("full", 3, 3, 3, 3),
        image_text("lora", 2, 2, 2, 2),
        image_text("frozen", 9, 9, 9, 9),
    )
    assert found is not None
    assert [axis.frontier for axis in found.axes] == [""] * 4
