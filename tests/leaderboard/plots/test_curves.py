"""The picture of training as it is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from tests.leaderboard.boards import METRICS, boards_of
from tests.leaderboard.builders import image_text, write
from tests.leaderboard.plots.log_builders import trained, validation, write_log
from vlbench.errors import NothingToReport
from vlbench.leaderboard.board import Board, summarise
from vlbench.leaderboard.load import suite_tasks
from vlbench.leaderboard.plots import Quantity
from vlbench.leaderboard.plots.curves import N_BINS, OTHERS, curves, curves_title, panels, read_logs
from vlbench.leaderboard.plots.style import LINES, styled
from vlbench.leaderboard.results import Log, read_results

NAMES = ("full", "adapter", "lora", "compacter", "bitfit", "lst", "hyperformer", "norms", "frozen")


def drawn(folder: Path, quantity: Quantity) -> Figure:
    boards = summarise(read_results(folder), suite_tasks())
    with styled():
        figure = curves(boards, folder, quantity)
        FigureCanvasAgg(figure).draw()
    return figure


def texts(figure: Figure) -> str:
    return " ".join(each.get_text() for each in figure.findobj(Text) if each.get_text())


def test_losses_have_axes_for_each_task_and_a_line_for_each_method(tmp_path: Path) -> None:
    trained(tmp_path, "full", 3)
    trained(tmp_path, "adapter", 2, slow=2.0)
    figure = drawn(tmp_path, Quantity.LOSS)
    assert [axes.get_title("left") for axes in figure.axes] == ["vqav2", "gqa", "nlvr2", "coco"]
    assert all(len(axes.lines) == 2 for axes in figure.axes)
    assert all(len(axes.collections) == 2 for axes in figure.axes)  # bands over seeds
    assert all(axes.get_yscale() == "log" for axes in figure.axes)
    written = texts(figure)
    assert "Seeds: 0, 1, 2; adapter: 0, 1." in written
    assert "image-text on mini-bart, mini edition, training loss" in written
    assert "examples)" not in written  # those of the test split


def test_validation_has_axes_for_the_average_and_each_metric(tmp_path: Path) -> None:
    trained(tmp_path, "full", 1)
    figure = drawn(tmp_path, Quantity.VALIDATION)
    assert [axes.get_title("left") for axes in figure.axes] == [
        "average", "vqav2.accuracy", "gqa.accuracy", "nlvr2.accuracy", "coco.cider",
    ]  # fmt: skip
    assert set(figure.axes[0].get_xticks()) >= {1, 2, 3}
    assert all(tick == int(tick) for tick in figure.axes[0].get_xticks())
    assert not figure.axes[0].collections  # one seed has no band


def test_more_methods_than_are_told_apart_stand_in_grey_and_are_named(tmp_path: Path) -> None:
    for number, name in enumerate(NAMES):
        trained(tmp_path, name, 1, slow=1 + number / 10)
    figure = drawn(tmp_path, Quantity.LOSS)
    colours = [line.get_color() for line in figure.axes[0].lines]
    assert colours.count(OTHERS["color"]) == 2
    assert len(set(colours)) == len(LINES) + 1
    assert "first 7 of 9 methods by average; in grey: frozen, norms." in texts(figure)


def test_lines_are_told_apart_without_colour() -> None:
    assert len({str(dashes) for _, dashes in LINES}) == len(LINES)


def test_runs_without_a_curve_are_named(tmp_path: Path) -> None:
    trained(tmp_path, "full", 1)
    write(tmp_path, image_text("adapter", 1, 2, 3, 4), image_text("adapter", 1, 2, 3, 4, seed=1))
    written = texts(drawn(tmp_path, Quantity.LOSS))
    assert "No metrics.jsonl beside the result: adapter (seed 0, 1)." in written


def test_without_any_curve_there_is_nothing_to_draw(tmp_path: Path) -> None:
    boards = boards_of(tmp_path, image_text("full", 1, 2, 3, 4))
    with pytest.raises(NothingToReport, match="No run of these has noted a validation"):
        curves(boards, tmp_path, Quantity.VALIDATION)


def board_and_losses(tmp_path: Path, *seeds: list[tuple[int, float]]) -> tuple[Board, dict]:
    [board] = boards_of(
        tmp_path, *(image_text("full", 1, 2, 3, 4, seed=seed) for seed in range(len(seeds)))
    )
    return board, {"full": {n: Log({"gqa": points}, {}) for n, points in enumerate(seeds)}}


def test_a_line_is_the_mean_of_the_seeds_with_the_lowest_and_the_highest(tmp_path: Path) -> None:
    one = [(10, 4.0), (20, 6.0), (30, 2.0), (40, 3.0)]
    two = [(10, 8.0), (20, 8.0), (30, 4.0), (40, 5.0)]
    [lines] = panels(*board_and_losses(tmp_path, one, two), Quantity.LOSS)
    [line] = lines.lines
    assert lines.name == "gqa"
    assert line.n_seeds == 2
    # two stretches of 20 steps; step 20 belongs to the second
    assert line.x == [10, 30]
    assert line.mean == [pytest.approx((4 + 8) / 2), pytest.approx((3 + 5) / 2)]
    assert (line.low, line.high) == ([4.0, 3.0], [8.0, 5.0])


def test_a_stretch_without_a_loss_of_each_seed_has_no_point(tmp_path: Path) -> None:
    one = [(n, 1.0) for n in range(10, 90, 10)]
    two = [(n, 3.0) for n in (10, 15, 20, 25, 30, 35, 36, 80)]
    [lines] = panels(*board_and_losses(tmp_path, one, two), Quantity.LOSS)
    assert lines.lines[0].x == [10, 30, 70]  # of 10, 30, 50, 70
    assert set(lines.lines[0].mean) == {2.0}


def test_a_long_run_has_no_more_points_than_can_be_seen(tmp_path: Path) -> None:
    points = [(10 * n, 1.0) for n in range(1, 10_000)]
    [lines] = panels(*board_and_losses(tmp_path, points), Quantity.LOSS)
    assert len(lines.lines[0].x) == N_BINS


def test_validation_has_the_average_first_then_each_task(tmp_path: Path) -> None:
    trained(tmp_path, "full", 2)
    [board] = summarise(read_results(tmp_path))
    logs = read_logs(board, tmp_path)
    found = panels(board, logs, Quantity.VALIDATION)
    assert {each.name for each in found} == {"average", *METRICS}
    assert found[0].name == "average"
    [line] = found[0].lines
    assert line.x == [1, 2, 3]
    assert line.low[0] == (20 + 10 + 50 + 30) / 4
    assert line.high[0] == (20 + 10 + 50 + 31) / 4


def test_an_average_needs_all_tasks(tmp_path: Path) -> None:
    run = image_text("full", 1, 2, 3, 4)
    [board] = boards_of(tmp_path, run)
    write_log(tmp_path, run[0]["key"], validation(1, 60, 50))
    found = panels(board, read_logs(board, tmp_path), Quantity.VALIDATION)
    assert [each.name for each in found] == ["vqav2.accuracy", "gqa.accuracy"]


def test_the_title_of_curves_names_quantity_and_boards(tmp_path: Path) -> None:
    boards = boards_of(tmp_path, image_text("full", 66, 58, 71, 112))
    expected = "image-text on mini-bart, mini edition, training loss"
    assert curves_title(boards, Quantity.LOSS) == expected
