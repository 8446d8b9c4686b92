"""Training curves as they are drawn; plots as files: valid, the same bytes each time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from tests.leaderboard.boards import boards_of
from tests.leaderboard.builders import image_text, write
from tests.leaderboard.log_builders import trained
from vlbench.leaderboard.board import Board
from vlbench.leaderboard.load import suite_tasks
from vlbench.leaderboard.plots import (
    FORMATS,
    LINES,
    N_BINS,
    Plot,
    curve_panels,
    curves,
    encoded,
)
from vlbench.leaderboard.results import Log, read_results
from vlbench.leaderboard.summarise import summarise

SVG = "{http://www.w3.org/2000/svg}"
NAMES = ("adapter", "lora", "compacter", "bitfit", "lst", "hyperformer", "norms", "frozen")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine methods, one with three seeds, and one without training curves."""
    folder = tmp_path_factory.mktemp("curves")
    trained(folder, "full", 3)
    for number, name in enumerate(NAMES, start=1):
        trained(folder, name, 1, slow=1 + number / 10)
    run = image_text("blind", 1, 2, 3, 4)
    return write(folder, run, image_text("blind", 1, 2, 3, 4, seed=1))


@pytest.fixture(scope="module")
def boards(folder: Path) -> list[Board]:
    return summarise(read_results(folder), suite_tasks())


@pytest.fixture(scope="module")
def losses(folder: Path, boards: list[Board]) -> Plot:
    return curves(boards, folder)


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.findobj(Text) if text.get_text())


def test_losses_have_axes_for_each_task_and_a_line_for_each_method(losses: Plot) -> None:
    axes = losses.figure.axes
    assert [panel.get_title("left") for panel in axes] == ["vqav2", "gqa", "nlvr2", "coco"]
    assert all(len(panel.lines) == len(panel.collections) == len(LINES) for panel in axes)
    assert all(panel.get_yscale() == "log" for panel in axes)
    assert losses.title == "image-text on mini-bart, mini edition, training loss"
    written = texts(losses.figure)
    assert "Drawn: the first 7 of 9 methods." in written
    assert "No metrics.jsonl beside some results: blind." in written


@pytest.mark.parametrize(
    ("seeds", "x", "values"),
    [
        (  # two stretches of 20 steps; step 20 belongs to the second
            [
                [(10, 4.0), (20, 6.0), (30, 2.0), (40, 3.0)],
                [(10, 8.0), (20, 8.0), (30, 4.0), (40, 5.0)],
            ],
            [10, 30],
            [[4, 3], [8, 5]],
        ),
        ([[(10, 4.0), (20, 0.0), (30, -1.0), (40, 2.0)]], [20], [[3.0]]),  # a log axis
    ],
)
def test_a_line_is_the_median_of_stretches_that_all_seeds_have(
    tmp_path: Path, seeds: Any, x: Any, values: Any
) -> None:
    [board] = boards_of(tmp_path, image_text("full", 1, 2, 3, 4))
    logs = {"full": [Log({"gqa": points}, {}) for points in seeds]}
    lines = curve_panels(board, logs)
    assert (list(lines), lines["gqa"]["full"].index.tolist()) == (["gqa"], x)
    assert lines["gqa"]["full"].T.values.tolist() == values
    logs = {"full": [Log({"gqa": [(10 * n, 1.0) for n in range(1, 10_000)]}, {})]}
    assert len(curve_panels(board, logs)["gqa"]["full"]) == N_BINS


def test_the_same_plot_gives_the_same_bytes_at_another_time(
    folder: Path, boards: list[Board], losses: Plot, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: encoded(losses, name) for name in FORMATS}
    now = time.time() + 100_000
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    again = curves(boards, folder)
    assert [name for name in FORMATS if encoded(again, name) != before[name]] == []


def test_files_are_valid_and_say_what_they_show(losses: Plot, tmp_path: Path) -> None:
    plot = losses._replace(title="A title <&>", description="full 76.8")
    files = {name: tmp_path / f"plot.{name}" for name in FORMATS}
    for name, file in files.items():
        file.write_bytes(encoded(plot, name))
    with Image.open(files["png"]) as picture:
        picture.load()
        assert picture.width == 1400
        assert picture.info["Title"] == "A title <&>"
        assert picture.info["Description"] == "full 76.8"
        assert "Software" not in picture.info
    root = ElementTree.fromstring(files["svg"].read_bytes())
    assert {"vqav2", "coco", "loss (log scale)"} <= {text.text for text in root.iter(f"{SVG}text")}
    assert root.findtext(f"{SVG}title") == "A title <&>"
    assert b"full 76.8" in files["svg"].read_bytes()
    content = files["pdf"].read_bytes()
    assert content.startswith(b"%PDF-") and b"/Type3" not in content  # TrueType
