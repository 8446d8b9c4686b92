"""The Pareto picture as it is drawn."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from tests.leaderboard.boards import boards_of, tied
from tests.leaderboard.builders import image_text, row
from tests.leaderboard.plots.plot_builders import METHODS, every_method
from vlbench.errors import NothingToReport
from vlbench.leaderboard.board import Board
from vlbench.leaderboard.plots.pareto import pareto, pareto_text, pareto_title
from vlbench.leaderboard.plots.points import FAMILY_ORDER, find_costs
from vlbench.leaderboard.plots.style import MARGIN, MARKERS, styled

ROUNDING = 0.5
"""What letters may be wider in pixels than on paper."""


def drawn(boards: list[Board], cost: str = "trainable_parameters", **others: Any) -> Figure:
    """The picture, at 100 dots an inch."""
    with styled():
        figure = pareto(boards, find_costs(cost), **others)
        FigureCanvasAgg(figure).draw()
    return figure


def texts(figure: Figure) -> str:
    """What is written on it, lines joined."""
    return " ".join(each.get_text() for each in figure.findobj(Text) if each.get_text())


def names(axes: Axes) -> dict[str, Text]:
    """The names of points, by their first line."""
    return {text.get_text().splitlines()[0]: text for text in axes.texts}


def letters(text: Text) -> Bbox:
    """The box around the letters, without the white behind them."""
    text.set_bbox(None)
    return text.get_window_extent()


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    return every_method(tmp_path_factory.mktemp("every"))


@pytest.fixture(scope="module", params=[7.0, 3.4], ids=["page", "column"])
def crowded(request: Any, board: Board) -> Figure:
    return drawn([board], width=request.param)


def test_names_do_not_overlap_and_those_without_room_are_counted(crowded: Figure) -> None:
    placed = names(crowded.axes[0])
    missing = set(METHODS) - set(placed)
    assert len(missing) <= (0 if crowded.get_figwidth() > 6 else 5)
    assert (f"{len(missing)} of 28 names find no room" in texts(crowded)) == bool(missing)
    boxes = {name: letters(text) for name, text in placed.items()}
    for (one, a), (two, b) in combinations(boxes.items(), 2):
        shared = Bbox.intersection(a, b)
        assert shared is None or min(shared.width, shared.height) <= ROUNDING, (one, two)


def test_no_name_leaves_the_axes_or_covers_a_marker(crowded: Figure) -> None:
    axes = crowded.axes[0]
    inside = axes.get_window_extent().padded(ROUNDING)
    boxes = {name: letters(text) for name, text in names(axes).items()}
    for name, box in boxes.items():
        assert inside.x0 <= box.x0 < box.x1 <= inside.x1, name
        assert inside.y0 <= box.y0 < box.y1 <= inside.y1, name
    markers = [line for line in axes.lines if line.get_marker() not in ("None", "", None)]
    assert len(markers) == len(METHODS)
    for line in markers:
        ((x, y),) = line.get_transform().transform(line.get_xydata())  # one point
        assert not any(box.contains(x, y) for box in boxes.values())


def test_no_text_leaves_the_paper(crowded: Figure) -> None:
    right, top = crowded.bbox.width, crowded.bbox.height
    edge = MARGIN * crowded.dpi / 2
    for text in crowded.findobj(Text):
        if text.get_text() and text.get_visible():
            box = text.get_window_extent()
            assert box.x0 >= edge - ROUNDING, text.get_text()
            assert box.x1 <= right - edge + ROUNDING, text.get_text()
            assert 0 <= box.y0 < box.y1 <= top, text.get_text()


def test_the_frontier_is_a_step_line_through_its_points(tmp_path: Path) -> None:
    [board] = boards_of(
        tmp_path,
        image_text("full", 70, 70, 70, 70, trainable_parameters=1_000_000),
        image_text("adapter", 60, 60, 60, 60, trainable_parameters=100_000),
        image_text("lora", 50, 50, 50, 50, trainable_parameters=200_000),
        image_text("bitfit", 40, 40, 40, 40, trainable_parameters=10_000),
    )
    axes = drawn([board]).axes[0]
    [line] = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert list(line.get_xdata())[:-1] == [10_000, 100_000, 1_000_000]
    assert list(line.get_ydata()) == [40, 60, 70, 70]
    assert line.get_xdata()[-1] == axes.get_xlim()[1]


def test_shapes_tell_families_apart_without_colour() -> None:
    assert set(MARKERS) == set(FAMILY_ORDER)
    assert len({marker.shape for marker in MARKERS.values()}) == len(MARKERS)


def test_floors_are_grey_and_what_does_not_beat_them_is_hollow(crowded: Figure) -> None:
    markers = {
        line.get_marker(): line.get_markerfacecolor()
        for line in crowded.axes[0].lines
        if line.get_markerfacecolor() in ("#9a9a9a", "#ffffff") and line.get_marker() != "None"
    }
    assert markers == {"X": "#9a9a9a", "P": "#ffffff"}  # frozen and blind; peft-vera
    assert "at or below a floor" in texts(crowded)


def test_the_legend_names_what_is_in_the_picture_and_nothing_else(tmp_path: Path) -> None:
    [board] = boards_of(tmp_path, image_text("lora", 1, 2, 3, 4, technique="lora"))
    written = texts(drawn([board]))
    assert "low-rank updates" in written
    for absent in (
        "adapters",
        "at or below a floor",
        "full fine-tuning",
        "SD over",
        "bold:",
    ):
        assert absent not in written, absent


def test_bold_names_are_the_best_and_what_the_test_cannot_tell_from_it(tmp_path: Path) -> None:
    methods = {"full": 70, "adapter": 69, "lora": 50}
    [board] = boards_of(tmp_path, *(image_text(name, *[at] * 4) for name, at in methods.items()))
    groups = {name: {"average": 1 + (name == "lora")} for name in methods}
    figure = drawn([tied(board, groups)])
    found = names(figure.axes[0])
    bold = {name for name, text in found.items() if text.get_fontweight() == "bold"}
    assert bold == {"full", "adapter"}
    assert "bold: best or tied" in texts(figure)


def test_the_small_print_says_what_is_missing_and_where_numbers_come_from(tmp_path: Path) -> None:
    [board] = boards_of(
        tmp_path,
        *(image_text("full", 66, 58, 71, 112, seed=seed) for seed in range(3)),
        image_text("adapter", 66, 58, 71, 112, peak_memory_bytes=None),
        image_text("compacter", 64, 56, None, 105),
    )
    written = texts(drawn([board], "all"))
    assert "compares means and is no test" in written
    assert "Not drawn against train_seconds: 1 of 3 methods: compacter (3/4 tasks)." in written
    assert "2 of 3 methods: adapter (no peak memory recorded), compacter (3/4 tasks)" in written
    assert "seeds 0, 1, 2; adapter: 0; compacter: 0." in written
    assert "Data: mini edition, complete: vqav2 vqav2-of (500" in written
    assert "Code: 0.1.0." in written
    assert "Device: cpu." in written


def test_what_is_missing_everywhere_is_said_once(tmp_path: Path) -> None:
    [board] = boards_of(
        tmp_path,
        image_text("full", 66, 58, 71, 112),
        image_text("compacter", 64, 56, None, 105),
    )
    written = texts(drawn([board], "all"))
    assert "Not drawn: 1 of 2 methods: compacter (3/4 tasks)." in written
    assert "Not drawn against" not in written


def test_boards_and_costs_never_share_axes(tmp_path: Path) -> None:
    boards = boards_of(
        tmp_path,
        image_text("full", 66, 58, 71, 112),
        image_text("full", 60, 50, 60, 100, edition="full"),
    )
    figure = drawn(boards, "all")
    assert len(figure.axes) == 8
    assert all(len(names(axes)) == 1 for axes in figure.axes)
    assert [text for text in ("mini edition", "full edition") if text in texts(figure)]
    boxes = [axes.get_window_extent() for axes in figure.axes]
    assert not any(Bbox.intersection(a, b) for a, b in combinations(boxes, 2))


def test_floors_far_below_are_told_at_the_edge(tmp_path: Path) -> None:
    methods = {"full": 470, "adapter": 460, "lora": 440, "frozen": 30.2, "blind": 43, "bitfit": 20}
    [board] = boards_of(tmp_path, *(image_text(name, *[at] * 4) for name, at in methods.items()))
    figure = drawn([board])
    found = set(names(figure.axes[0]))
    assert found == {"full", "adapter", "lora", "frozen ↓ 30.2", "blind ↓ 43.0", "bitfit ↓ 20.0"}
    assert figure.axes[0].get_ylim()[0] > 400
    assert "the point lies below the axes" in texts(figure)


def test_names_that_find_no_room_are_counted_and_the_frontier_keeps_its_own(tmp_path: Path) -> None:
    better = [("full", 1_000_000, 80), ("adapter", 1_000, 60), ("frozen", 500, 10)]
    runs = [
        image_text(name, *[score] * 4, trainable_parameters=cost) for name, cost, score in better
    ]
    runs += [
        image_text("lora", *[40] * 4, trainable_parameters=50_000 + n, settings=f"a.b={n}")
        for n in range(60)
    ]
    figure = drawn(boards_of(tmp_path, *runs), width=3.4)
    placed = len(figure.axes[0].texts)
    assert {"full", "adapter", "frozen"} <= set(names(figure.axes[0]))
    assert placed < 20
    assert f"{63 - placed} of 63 names find no room: choose with --method" in texts(figure)


def test_costs_that_differ_between_seeds_have_bars_too(tmp_path: Path) -> None:
    seconds = (100.0, 110.0, 120.0)
    runs = [
        image_text("full", 50, 50, 50, 50, seed=seed, train_seconds=cost)
        for seed, cost in enumerate(seconds)
    ]
    axes = drawn(boards_of(tmp_path, *runs), "train_seconds").axes[0]
    segments = [part for bars in axes.collections for part in bars.get_segments()]
    assert [[tuple(end) for end in part] for part in segments] == [[(100.0, 50.0), (120.0, 50.0)]]
    assert axes.get_xlim()[0] < 100 < 120 < axes.get_xlim()[1]


def test_settings_stand_below_a_name_and_dollars_are_no_formula(tmp_path: Path) -> None:
    long = "params.note=$x^2$,params.reduction=4,train.epochs=3"
    [board] = boards_of(tmp_path, image_text("adapter", 1, 2, 3, 4, settings=long))
    [text] = drawn([board]).axes[0].texts
    assert text.get_text() == "adapter\n(params.note=$x^2$,params.red…"


def test_a_single_point_and_equal_scores_can_be_drawn(tmp_path: Path) -> None:
    [board] = boards_of(
        tmp_path,
        image_text("full", 50, 50, 50, 50),
        image_text("adapter", 50, 50, 50, 50),
        [row("full", "nlvr", 55.0, suite="nlvr", key="one")],
    )[:1]
    assert set(names(drawn([board]).axes[0])) == {"full", "adapter"}


def test_nothing_to_draw_is_an_error(tmp_path: Path) -> None:
    [board] = boards_of(tmp_path, image_text("full", 50, 50, None, 50))
    with pytest.raises(
        NothingToReport, match="No method here has both an average and train_seconds"
    ):
        drawn([board], "train_seconds")


PLACE = "image-text on mini-bart, mini edition, test split"


def test_every_point_of_the_picture_is_told(tmp_path: Path) -> None:
    boards = boards_of(
        tmp_path,
        *(image_text("full", 66 + 4 * seed, 58, 71, 112, seed=seed) for seed in range(2)),
        image_text("lora", 30, 30, 30, 30, adapter_bytes=2_500),
        image_text("frozen", 41, 38, 51, 40, adapter_bytes=1_000),
    )
    costs = find_costs("adapter_bytes")
    assert pareto_title(boards, costs) == f"Average against stored size: {PLACE}"
    assert pareto_text(boards, costs) == (
        f"{PLACE}, average against stored size: full 77.2 ±0.7 at 330.0 KB, on the frontier; "
        "lora 30.0 at 2.5 KB, at or below a floor; frozen 42.5 at 1.0 KB, a floor."
    )
