"""The Pareto plot: points, frontier, and the figure as it is drawn."""

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
from vlbench.errors import NothingToReport, UsageError
from vlbench.leaderboard.board import Board
from vlbench.leaderboard.load import Filters, read_boards
from vlbench.leaderboard.pareto import (
    COSTS,
    FAMILIES,
    OTHER,
    family,
    find_costs,
    pareto,
    pareto_frontier,
    points,
)
from vlbench.leaderboard.plots import GREY, MARGIN, Plot, styled
from vlbench.techniques import TECHNIQUES

(PARAMETERS,) = find_costs("trainable_parameters")
(MEMORY,) = find_costs("peak_memory_bytes")
MINI = Path(__file__).parents[2] / "results" / "mini"
ROUNDING = 0.5
"""What letters may be wider in pixels than on paper."""


def drawn(boards: list[Board], cost: str = "trainable_parameters", **others: Any) -> Plot:
    """The plot, drawn at 100 dots an inch."""
    plot = pareto(boards, find_costs(cost), **others)
    with styled():
        FigureCanvasAgg(plot.figure).draw()
    return plot


def axes_of(*arguments: Any, **others: Any) -> Axes:
    return drawn(*arguments, **others).figure.axes[0]


def texts(figure: Figure) -> str:
    """Everything written in a figure, lines joined."""
    return " ".join(text.get_text() for text in figure.findobj(Text) if text.get_text())


def names(axes: Axes) -> dict[str, Text]:
    """The names of points, by their first line."""
    return {text.get_text().splitlines()[0]: text for text in axes.texts}


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    """A floor, a row below it, rows without an average or a cost, and better ones."""
    [board] = boards_of(
        tmp_path_factory.mktemp("few"),
        *(
            image_text("full", 66 + seed, 58, 71, 112, seed=seed, trainable_parameters=2_000_000)
            for seed in range(3)
        ),
        image_text("adapter", 64, 56, 69, 105, trainable_parameters=90_000),
        image_text("adapter", 60, 50, 60, 90, trainable_parameters=95_000, settings="params.r=2"),
        image_text("lora", 30, 30, 30, 30, trainable_parameters=1_000, technique="lora"),
        image_text("compacter", 64, 56, None, 105),
        image_text("bitfit", 65, 57, 70, 100, trainable_parameters=0, peak_memory_bytes=None),
        image_text("frozen", 41, 38, 51, 40, trainable_parameters=500),
    )
    return board


@pytest.fixture(scope="module")
def mini() -> list[Board]:
    """The boards of the mini edition: 28 methods each."""
    return read_boards(MINI, Filters(), None, [])


@pytest.fixture(scope="module", params=[(0, 7.0), (1, 7.0), (0, 3.4)], ids=str)
def crowded(request: Any, mini: list[Board]) -> tuple[Board, Figure]:
    board, width = mini[request.param[0]], request.param[1]
    return board, drawn([board], width=width).figure


def test_names_do_not_overlap_and_the_note_counts_those_without_room(
    crowded: tuple[Board, Figure],
) -> None:
    board, figure = crowded
    placed = names(figure.axes[0])
    missing = {row.label for row in board.rows} - set(placed)
    assert len(board.rows) >= 28 and len(missing) <= (0 if figure.get_figwidth() > 6 else 5)
    note = f"{len(missing)} of {len(board.rows)} names find no room"
    assert (note in texts(figure)) == bool(missing)
    boxes = {name: text.get_window_extent() for name, text in placed.items()}
    for (one, a), (two, b) in combinations(boxes.items(), 2):
        shared = Bbox.intersection(a, b)
        assert shared is None or min(shared.width, shared.height) <= ROUNDING, (one, two)


def test_no_name_leaves_the_axes_or_covers_a_marker(crowded: tuple[Board, Figure]) -> None:
    axes = crowded[1].axes[0]
    inside = axes.get_window_extent().padded(ROUNDING)
    boxes = {name: text.get_window_extent() for name, text in names(axes).items()}
    for name, box in boxes.items():
        assert inside.x0 <= box.x0 < box.x1 <= inside.x1, name
        assert inside.y0 <= box.y0 < box.y1 <= inside.y1, name
    markers = [line for line in axes.lines if line.get_marker() not in ("None", "", None)]
    assert len(markers) == len(crowded[0].rows)
    for line in markers:
        ((x, y),) = line.get_transform().transform(line.get_xydata())  # one point
        assert not any(box.contains(x, y) for box in boxes.values())


def test_no_text_leaves_the_paper(crowded: tuple[Board, Figure]) -> None:
    figure = crowded[1]
    edge = MARGIN * figure.dpi / 2 - ROUNDING
    ticks = figure.axes[0].get_yticklabels()  # those beyond the axis are not drawn
    for text in figure.findobj(Text):
        if text.get_text() and text.get_visible() and text not in ticks:
            box = text.get_window_extent()
            assert edge <= box.x0 < box.x1 <= figure.bbox.width - edge, text.get_text()
            assert 0 <= box.y0 < box.y1 <= figure.bbox.height, text.get_text()


def test_floors_are_grey_and_what_does_not_beat_them_is_hollow(board: Board) -> None:
    figure = drawn([board]).figure
    markers = {
        line.get_marker(): line.get_markerfacecolor()
        for line in figure.axes[0].lines
        if line.get_markerfacecolor() in (GREY, "#ffffff") and line.get_marker() != "None"
    }
    assert markers == {"X": GREY, "s": "#ffffff"}  # frozen; lora
    assert "at or below a floor" in texts(figure)


def test_points_hold_means_of_rows_with_a_score_and_a_cost(board: Board) -> None:
    by_label = {point.row.label: point for point in points(board, PARAMETERS, "average")}
    full = by_label["full"]
    assert (full.x, full.y, full.x_std, full.is_best) == (2_000_000, 77.0, 0.0, False)
    assert full.y_std == pytest.approx(0.25)
    on_frontier = [label for label, point in by_label.items() if point.is_on_frontier]
    assert on_frontier == ["full", "adapter"]
    assert [label for label, point in by_label.items() if point.is_below] == ["lora"]
    labels = {row.label for row in board.rows}
    assert labels - by_label.keys() == {"bitfit", "compacter"}  # no trainable ones; 3/4 tasks
    assert labels - {point.row.label for point in points(board, MEMORY, "average")} == {
        *("bitfit", "compacter")
    }
    assert points(board, MEMORY, "nlvr2.accuracy")[0].y == 71


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], []),
        ([(1, 10), (2, 20), (3, 30)], [(1, 10), (2, 20), (3, 30)]),
        ([(1, 30), (2, 20), (3, 10)], [(1, 30)]),
        ([(1, 10), (1, 20)], [(1, 20)]),  # the same cost: the higher score
        ([(1, 20), (2, 20)], [(1, 20)]),  # the same score: the lower cost
        ([(2, 20), (1, 10), (2, 20), (2, 19)], [(1, 10), (2, 20)]),  # equal in both
        ([(1, -10), (2, -5)], [(1, -10), (2, -5)]),
    ],
)
def test_pairs_that_no_other_beats_are_on_the_frontier(pairs: Any, expected: Any) -> None:
    assert pareto_frontier(pairs) == expected


def test_unknown_costs_and_metrics_exit_with_the_nearest(board: Board, tmp_path: Path) -> None:
    assert find_costs("all") == COSTS
    with pytest.raises(UsageError, match=r"--cost bytes: .*'adapter_bytes'.* train_seconds"):
        find_costs("bytes")
    [other] = boards_of(tmp_path, [row("full", "nlvr", 55.0, suite="nlvr")])
    assert len(pareto([board, other], [PARAMETERS]).figure.axes) == 2
    assert len(pareto([board, other], [PARAMETERS], "nlvr.accuracy").figure.axes) == 1
    with pytest.raises(UsageError, match=r"Did you mean 'vqav2.accuracy'\?.* average, coco.cider"):
        pareto([board, other], [PARAMETERS], "vqa2.accuracy")


def test_every_technique_has_a_family_with_a_shape_of_its_own(tmp_path: Path) -> None:
    techniques = {name for *_, names in FAMILIES.values() for name in names.split()}
    assert techniques == set(TECHNIQUES)
    assert len({shape for shape, *_ in FAMILIES.values()}) == len(FAMILIES)
    known = {"a": "adapter", "b": "adapter+prompt", "c": "mypkg.mine:Mine", "blind": "full"}
    runs = [image_text(name, 1, 2, 3, 4, technique=known[name]) for name in known]
    [board] = boards_of(tmp_path, *runs)
    families = {row.method: family(row) for row in board.rows}
    assert families == {"a": "adapters", "b": "combined", "c": OTHER, "blind": "floor"}


def test_the_frontier_is_a_step_line_through_its_points(tmp_path: Path) -> None:
    costs = {"full": (70, 1_000_000), "adapter": (60, 100_000), "lora": (50, 200_000)}
    costs["bitfit"] = 40, 10_000
    runs = [image_text(n, *[y] * 4, trainable_parameters=x) for n, (y, x) in costs.items()]
    axes = axes_of(boards_of(tmp_path, *runs))
    [line] = [line for line in axes.lines if len(line.get_xdata()) > 2]
    corners = [10_000, 100_000, 100_000, 1_000_000, 1_000_000]
    assert list(line.get_xdata()) == [*corners, axes.get_xlim()[1]]
    assert list(line.get_ydata()) == [40, 40, 60, 60, 70, 70]


def test_the_legend_names_only_what_is_drawn(tmp_path: Path) -> None:
    [board] = boards_of(tmp_path, image_text("lora", 1, 2, 3, 4, technique="lora"))
    written = texts(drawn([board]).figure)
    assert "low-rank updates" in written
    absent = ("adapters", "at or below a floor", "full fine-tuning", "SD over")
    assert [text for text in absent if text in written] == []


def test_bold_names_are_the_best_and_those_tied_with_it(board: Board) -> None:
    groups = {"full": {"average": 1}, "adapter": {"average": 1}, "lora": {"average": 2}}
    figure = drawn([tied(board, groups)]).figure
    bold = [text.get_text() for text in figure.axes[0].texts if text.get_fontweight() == "bold"]
    assert sorted(bold) == ["adapter", "adapter\n(params.r=2)", "full"]


def test_notes_say_what_is_missing_and_where_numbers_come_from(board: Board) -> None:
    written = texts(pareto([board], [MEMORY, COSTS[-1]]).figure)
    for text in (
        "compares means and is no test",
        "Not drawn, as they have no average or no peak memory: bitfit, compacter.",
        "Not drawn, as they have no average or no training time: compacter.",
        "seeds 0, 1, 2; adapter: 0;",
        "Data: mini edition, complete: vqav2 vqav2-of (500",
        "Code: 0.1.0.",
        "Device: cpu.",
    ):
        assert text in written.replace("\n", " "), text


def test_boards_and_costs_never_share_axes(tmp_path: Path) -> None:
    values = {"mini": (66, 58, 71, 112), "full": (60, 50, 60, 100)}
    runs = [image_text("full", *scores, edition=name) for name, scores in values.items()]
    runs += [image_text("adapter", 1, 2, None, 4, edition="full")]
    figure = pareto(boards_of(tmp_path, *runs), COSTS[:2]).figure
    assert len(figure.axes) == 4
    assert all(list(names(axes)) == ["full"] for axes in figure.axes)
    boxes = [axes.get_window_extent() for axes in figure.axes]
    assert not any(Bbox.intersection(a, b) for a, b in combinations(boxes, 2))
    written = texts(figure)
    assert "mini edition" in written and "full edition" in written


def test_settings_stand_below_a_name_and_dollars_are_no_formula(tmp_path: Path) -> None:
    long = "params.note=$x^2$,params.reduction=4,train.epochs=3"
    [text] = axes_of(boards_of(tmp_path, image_text("adapter", 1, 2, 3, 4, settings=long))).texts
    assert text.get_text() == "adapter\n(params.note=$x^2$,params.red…"


def test_equal_points_can_be_drawn_and_no_points_are_an_error(tmp_path: Path) -> None:
    runs = [image_text(name, 50, 50, 50, 50) for name in ("full", "adapter")]
    assert set(names(axes_of(boards_of(tmp_path / "equal", *runs)))) == {"full", "adapter"}
    boards = boards_of(tmp_path / "none", image_text("full", 50, 50, None, 50))
    with pytest.raises(NothingToReport, match="has both an average and train_seconds"):
        drawn(boards, "train_seconds")


def test_the_axis_of_a_single_task_is_its_metric(tmp_path: Path) -> None:
    axes = axes_of(boards_of(tmp_path, [row("full", "nlvr", 55.0, suite="nlvr")]))
    assert axes.get_ylabel() == "nlvr accuracy (%)"


def test_title_and_description_hold_every_point(tmp_path: Path) -> None:
    boards = boards_of(
        tmp_path,
        *(image_text("full", 66 + 4 * seed, 58, 71, 112, seed=seed) for seed in range(2)),
        image_text("lora", 30, 30, 30, 30, adapter_bytes=2_500),
    )
    plot = drawn(boards, "adapter_bytes")
    board = "image-text on mini-bart, mini edition, test split"
    assert plot.title == f"Average against stored size: {board}"
    points = "full 77.2 at 330.0 KB; lora 30.0 at 2.5 KB"
    assert plot.description == f"{board}, average against stored size: {points}."
