"""The picture of training as it is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from tests.leaderboard.boards import boards_of
from tests.leaderboard.builders import image_text, write
from tests.leaderboard.plots.log_builders import trained
from vlbench.errors import NothingToReport
from vlbench.leaderboard.plots.curves import LOOKS, OTHERS, curves
from vlbench.leaderboard.plots.quantity import Quantity
from vlbench.leaderboard.plots.style import styled
from vlbench.leaderboard.results import read_results
from vlbench.leaderboard.selection import suite_tasks
from vlbench.leaderboard.summary import summarise

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
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["1", "2", "3"]
    assert not figure.axes[0].collections  # one seed has no band


def test_more_methods_than_are_told_apart_stand_in_grey_and_are_named(tmp_path: Path) -> None:
    for number, name in enumerate(NAMES):
        trained(tmp_path, name, 1, slow=1 + number / 10)
    figure = drawn(tmp_path, Quantity.LOSS)
    colours = [line.get_color() for line in figure.axes[0].lines]
    assert colours.count(OTHERS) == 2
    assert len(set(colours)) == len(LOOKS) + 1
    assert "first 7 of 9 methods by average; in grey: frozen, norms." in texts(figure)


def test_lines_are_told_apart_without_colour() -> None:
    assert len({str(dashes) for _, dashes in LOOKS}) == len(LOOKS)


def test_runs_without_a_curve_are_named(tmp_path: Path) -> None:
    trained(tmp_path, "full", 1)
    write(tmp_path, image_text("adapter", 1, 2, 3, 4), image_text("adapter", 1, 2, 3, 4, seed=1))
    written = texts(drawn(tmp_path, Quantity.LOSS))
    assert "No metrics.jsonl beside the result: adapter (seed 0, 1)." in written


def test_without_any_curve_there_is_nothing_to_draw(tmp_path: Path) -> None:
    boards = boards_of(tmp_path, image_text("full", 1, 2, 3, 4))
    with pytest.raises(NothingToReport, match="No run of these has noted a validation"):
        curves(boards, tmp_path, Quantity.VALIDATION)
