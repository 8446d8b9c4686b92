"""The Pareto plot: points, frontier, and the figure as it is drawn."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from tests.leaderboard.boards import boards_of
from tests.leaderboard.builders import image_text, row
from vlbench.cards.load import all_methods
from vlbench.errors import NothingToReport
from vlbench.leaderboard.board import Board
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
from vlbench.leaderboard.plots import MARGIN, Plot, styled
from vlbench.techniques import TECHNIQUES

(PARAMETERS,) = find_costs("trainable_parameters")
(MEMORY,) = find_costs("peak_memory_bytes")
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
def many_rows(tmp_path_factory: pytest.TempPathFactory) -> list[Board]:
    """Two boards of all methods: costs over three orders of magnitude, scores that come near."""
    boards = []
    for seed in range(2):
        random, rows = Random(seed), []
        for card in all_methods():
            size, score = round(10 ** random.uniform(3.5, 6.2)), random.gauss(60, 20)
            values = [min(95.0, max(5.0, score + random.gauss(0, 3))) for _ in range(3)]
            captions, facts = 3 * values[0], {"technique": card.technique}
            rows.append(
                image_text(card.name, *values, captions, trainable_parameters=size, **facts)
            )
        boards += boards_of(tmp_path_factory.mktemp("many"), *rows)
    return boards


@pytest.fixture(scope="module", params=[(0, 7.0), (1, 7.0), (0, 3.4)], ids=str)
def crowded(request: Any, many_rows: list[Board]) -> tuple[Board, Figure]:
    board, width = many_rows[request.param[0]], request.param[1]
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


def test_every_technique_has_a_family_with_a_shape_of_its_own(tmp_path: Path) -> None:
    techniques = {name for *_, names in FAMILIES.values() for name in names.split()}
    assert techniques == set(TECHNIQUES)
    assert len({shape for shape, *_ in FAMILIES.values()}) == len(FAMILIES)
    known = {"a": "adapter", "b": "adapter+prompt", "c": "mypkg.mine:Mine", "blind": "full"}
    runs = [image_text(name, 1, 2, 3, 4, technique=known[name]) for name in known]
    [board] = boards_of(tmp_path, *runs)
    families = {row.method: family(row) for row in board.rows}
    assert families == {"a": "adapters", "b": "combined", "c": OTHER, "blind": "floor"}


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


def test_equal_points_can_be_drawn_and_no_points_are_an_error(tmp_path: Path) -> None:
    long = "params.note=$x^2$,params.reduction=4,train.epochs=3"
    runs = [image_text("adapter", *[50] * 4, settings=long), image_text("full", *[50] * 4)]
    axes = axes_of(boards_of(tmp_path / "equal", *runs))
    assert {text.get_text() for text in axes.texts} == {
        *("full", "adapter\n(params.note=$x^2$,params.red…")
    }
    single = axes_of(boards_of(tmp_path / "one", [row("full", "nlvr", 55.0, suite="nlvr")]))
    assert single.get_ylabel() == "nlvr accuracy (%)"
    boards = boards_of(tmp_path / "none", image_text("full", 50, 50, None, 50))
    with pytest.raises(NothingToReport, match="has both a score of all tasks and train_seconds"):
        drawn(boards, "train_seconds")
