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

from tests.leaderboard.boards import METRICS, boards_of
from tests.leaderboard.builders import image_text, write
from tests.leaderboard.log_builders import trained, validation, write_log
from vlbench.errors import NothingToReport, UsageError
from vlbench.leaderboard.board import Board, summarise
from vlbench.leaderboard.load import suite_tasks
from vlbench.leaderboard.plots import (
    FORMATS,
    LINES,
    N_BINS,
    Plot,
    curve_panels,
    curves,
    encoded,
    picture_format,
    read_logs,
    save,
)
from vlbench.leaderboard.results import Log, read_results

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
    return curves(boards, folder, "loss")


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.findobj(Text) if text.get_text())


def test_losses_have_axes_for_each_task_and_a_line_for_each_method(losses: Plot) -> None:
    axes = losses.figure.axes
    assert [panel.get_title("left") for panel in axes] == ["vqav2", "gqa", "nlvr2", "coco"]
    assert all(len(panel.lines) == len(panel.collections) == len(LINES) for panel in axes)
    assert all(panel.get_yscale() == "log" for panel in axes)
    assert losses.title == "image-text on mini-bart, mini edition, training loss"
    assert "examples)" not in texts(losses.figure)  # those of the test split


def test_more_methods_than_lines_differ_are_left_out_and_notes_say_so(losses: Plot) -> None:
    colours = [line.get_color() for line in losses.figure.axes[0].lines]
    assert len(set(colours)) == len({str(dashes) for _, dashes in LINES}) == len(LINES)
    written = texts(losses.figure)
    assert "Drawn: the first 7 of 9 methods." in written
    assert "No metrics.jsonl beside some results: blind." in written
    assert "Seeds: 0, 1, 2; adapter: 0;" in written


def test_validation_has_axes_for_the_average_and_each_metric(
    folder: Path, boards: list[Board]
) -> None:
    axes = curves(boards, folder, "validation").figure.axes
    assert [panel.get_title("left") for panel in axes] == ["average", *METRICS]
    ticks = axes[0].get_xticks()
    assert {1, 2, 3} <= {*ticks} and all(tick == int(tick) for tick in ticks)
    line = curve_panels(boards[0], read_logs(boards[0], folder), "validation")["average"]["full"]
    assert line.index.tolist() == [1, 2, 3]
    assert line.loc[1].tolist() == [(20 + 10 + 50 + 30 + seed) / 4 for seed in range(3)]


def test_an_average_needs_all_tasks_and_no_curve_at_all_is_an_error(tmp_path: Path) -> None:
    run = image_text("full", 1, 2, 3, 4)
    boards = boards_of(tmp_path, run)
    with pytest.raises(NothingToReport, match="No run of these has noted a validation"):
        curves(boards, tmp_path, "validation")
    write_log(tmp_path, run[0]["key"], validation(1, 60, 50))
    panels = curve_panels(boards[0], read_logs(boards[0], tmp_path), "validation")
    assert list(panels) == ["vqav2.accuracy", "gqa.accuracy"]


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
        (  # stretches around 10, 30, 50, 70: the second seed has no loss in the third
            [
                [(n, 1.0) for n in range(10, 90, 10)],
                [(n, 3.0) for n in (10, 15, 20, 25, 30, 35, 36, 80)],
            ],
            [10, 30, 70],
            [[1, 1, 1], [3, 3, 3]],
        ),
        ([[(10, 4.0), (20, 0.0), (30, -1.0), (40, 2.0)]], [20], [[3.0]]),  # a log axis
    ],
)
def test_a_line_is_the_median_of_stretches_that_all_seeds_have(
    tmp_path: Path, seeds: Any, x: Any, values: Any
) -> None:
    [board] = boards_of(tmp_path, image_text("full", 1, 2, 3, 4))
    logs = {"full": [Log({"gqa": points}, {}) for points in seeds]}
    lines = curve_panels(board, logs, "loss")
    assert (list(lines), lines["gqa"]["full"].index.tolist()) == (["gqa"], x)
    assert lines["gqa"]["full"].T.values.tolist() == values


def test_a_long_run_has_no_more_points_than_can_be_seen(tmp_path: Path) -> None:
    [board] = boards_of(tmp_path, image_text("full", 1, 2, 3, 4))
    logs = {"full": [Log({"gqa": [(10 * n, 1.0) for n in range(1, 10_000)]}, {})]}
    assert len(curve_panels(board, logs, "loss")["gqa"]["full"]) == N_BINS


def test_the_same_plot_gives_the_same_bytes_at_another_time(
    folder: Path, boards: list[Board], losses: Plot, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: encoded(losses, name) for name in FORMATS}
    now = time.time() + 100_000
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    again = curves(boards, folder, "loss")
    assert [name for name in FORMATS if encoded(again, name) != before[name]] == []


def test_files_are_valid_and_say_what_they_show(losses: Plot, tmp_path: Path) -> None:
    plot = losses._replace(title="A title <&>", description="full 76.8")
    files = {name: tmp_path / f"plot.{name}" for name in FORMATS}
    for file in files.values():
        save(plot, file)
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
    assert content.startswith(b"%PDF-") and content.rstrip().endswith(b"%%EOF")
    assert b"/CIDFontType2" in content  # TrueType
    assert b"/Type3" not in content and b"CreationDate" not in content


def test_the_suffix_is_the_format(tmp_path: Path) -> None:
    for name in ("a.png", "a.SVG", "my.results/b.c.pdf"):
        assert picture_format(Path(name)) == name.lower().rpartition(".")[2]
    for file in (Path("a.jpg"), Path("a"), tmp_path):
        with pytest.raises(UsageError, match=rf"--out {file}: .*: \.png, \.svg, \.pdf\."):
            picture_format(file)
