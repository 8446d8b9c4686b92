"""What a table may say, and what it must not mix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.leaderboard.boards import boards_of
from tests.leaderboard.builders import TASKS, image_text, row, run
from vlbench.leaderboard.board import Board, Stat
from vlbench.leaderboard.tables import title

Rows = list[dict[str, Any]]
WEIGHTS = "0123456789ab LAST.safetensors"


def board(folder: Path, *runs: Rows) -> Board:
    [only] = boards_of(folder, *runs)
    return only


def same(method: str, value: float, **others: Any) -> Rows:
    """A run with this value in all tasks."""
    return image_text(method, *[value] * 4, **others)


def averages(board: Board) -> list[tuple[str, float | None]]:
    return [(row.label, row.average.mean) for row in board.rows]


def test_mean_and_sample_deviation_are_over_seeds(tmp_path: Path) -> None:
    seeds = [image_text("full", v, 50, 70, 100, seed=n) for n, v in enumerate((1, 2, 6))]
    lora, full = sorted(board(tmp_path, *seeds, same("lora", 2)).rows, key=lambda r: r.seeds)
    assert full.seeds == (0, 1, 2)
    assert full.stat("vqav2.accuracy") == Stat(mean=3.0, std=pytest.approx(7**0.5), n=3)
    assert full.stat("coco.cider") == Stat(mean=100.0, std=0.0, n=3)
    assert full.average.mean == pytest.approx((3 + 50 + 70 + 100) / 4)
    assert lora.stat("gqa.accuracy") == Stat(mean=2.0, std=None, n=1)


def test_an_average_counts_only_seeds_that_have_every_task(tmp_path: Path) -> None:
    runs = [same("full", 1), image_text("full", 9, 9, 9, None, seed=1)]
    runs += [image_text("lora", 60, 50, 70, None)]
    result = board(tmp_path, *runs, image_text("adapter", None, 50, 70, 80))
    rows = {row.method: row for row in result.rows}
    assert rows["full"].average == Stat(1.0, None, 1)
    assert rows["full"].stat("gqa.accuracy").n == 2
    assert rows["lora"].average == rows["adapter"].average == Stat(None, None, 0)
    assert rows["adapter"].stat("vqav2.accuracy") == Stat(None, None, 0)
    assert list(result.mains) == list(TASKS)
    joined = board(tmp_path / "joined", run("full", {"vqav2": 60.0}, suite="vqav2+gqa"))
    assert list(joined.mains) == ["vqav2", "gqa"]
    assert joined.rows[0].average.mean is None


@pytest.mark.parametrize(
    "other",
    [
        {"edition": "full"},
        {"backbone": "clip-bart"},
        {"backbone_hash": "cafe" * 16},
        {"scope": "smoke", "limit": 64},
        {"data_fingerprint": "other data"},
        {"n_examples": 499},
    ],
    ids=str,
)
def test_what_cannot_be_compared_is_in_tables_apart(tmp_path: Path, other: Any) -> None:
    runs = [same("full", 1), same("full", 5, seed=1, key="b", **other)]
    result = boards_of(tmp_path, *runs)
    assert sorted(board.rows[0].seeds for board in result) == [(0,), (1,)]
    assert result[0].scope == "complete"
    assert len({title(board) for board in result}) == 2


def test_the_newest_run_of_a_seed_counts_and_a_note_says_so(tmp_path: Path) -> None:
    new = same("full", 9, key="a-new", created_at="2026-11-23T00:00:00+00:00")
    failed = same("full", 0, seed=1, status="failed")
    result = board(tmp_path, same("full", 1, key="z-old"), new, failed)
    assert averages(result) == [("full", 9.0)]
    assert result.rows[0].seeds == (0,)
    assert result.notes == [
        "full, seed 0: the newest run counts (a-new, not z-old).",
        "full, seed 1: no result (failed).",
    ]


@pytest.mark.parametrize(
    ("other", "labels"),
    [
        ({"card_hash": "01" * 8, "seed": 1}, ["full (card 01010101)", "full (card c0ffeec0)"]),
        ({"card_hash": "x", "settings": "train.epochs=3"}, ["full (train.epochs=3)", "full"]),
        ({"init": WEIGHTS}, ["full (from LAST.safetensors 01234567)", "full"]),
    ],
)  # fmt: skip
def test_another_card_settings_or_weights_are_a_row_of_their_own(
    tmp_path: Path, other: Any, labels: list[str]
) -> None:
    result = board(tmp_path, same("full", 1), same("full", 9, **other))
    assert averages(result) == list(zip(labels, (9.0, 1.0), strict=True))


def test_the_majority_is_weighted_over_families_that_cover_all_examples(tmp_path: Path) -> None:
    families = [
        row("full", "vqav2", 70, family="how many", majority=20.0, n_examples=100),
        row("full", "vqav2", 70, family="is there", majority=50.0, n_examples=400),
    ]
    for n, expected in ((2, (20 * 100 + 50 * 400) / 500), (1, 11.0)):
        result = board(tmp_path / str(n), same("full", 1, majority=11.0) + families[:n])
        assert result.majority["vqav2.accuracy"] == pytest.approx(expected)
        assert result.majority["gqa.accuracy"] == 11.0


def below(board: Board) -> dict[str, frozenset[str]]:
    return {row.label: row.below_floor for row in board.rows}


def test_what_is_at_or_below_the_majority_answer_or_a_baseline_is_marked(tmp_path: Path) -> None:
    result = board(
        tmp_path,
        image_text("lora", 30, 50, 71, 60, majority=30.0),
        image_text("adapter", 20, 50, 50, 50, majority=30.0),
        image_text("frozen", 1, 50, 1, 60, majority=30.0),
        same("blind", 30, majority=30.0),
    )
    assert below(result) == {
        "lora": {"vqav2.accuracy", "gqa.accuracy", "coco.cider"},
        "adapter": {"vqav2.accuracy", "gqa.accuracy", "coco.cider"},
        "blind": {"vqav2.accuracy", "gqa.accuracy", "nlvr2.accuracy", "coco.cider"},
        "frozen": {"vqav2.accuracy", "nlvr2.accuracy", "average"},
    }


def test_rows_with_overrides_are_held_against_the_floors_that_have_them_too(tmp_path: Path) -> None:
    short, wide = "train.epochs=2", "params.reduction=4"
    weights = "c0ffee" * 10 + " a.safetensors"
    others = ({"settings": short}, {"settings": f"{short}, {wide}"}, {"settings": wide})
    result = board(
        tmp_path,
        same("frozen", 50),
        same("frozen", 30, settings=short),
        same("blind", 35),
        *(image_text("adapter", 20, 40, 60, 60, **o) for o in (*others, {"init": weights})),
    )
    own, plain = {"vqav2.accuracy"}, {"vqav2.accuracy", "gqa.accuracy", "average"}
    marks = below(result)
    assert marks[f"adapter ({short})"] == marks[f"adapter ({short}, {wide})"] == own
    assert marks[f"adapter ({wide})"] == marks["adapter (from a.safetensors c0ffeec0)"] == plain
    assert marks["frozen"] == set()
    runs = [same("frozen", 9, settings=short), image_text("full", 8, 20, 20, 20, settings=short)]
    full, frozen = board(tmp_path / "every", *runs).rows
    assert (full.below_floor, frozen.below_floor) == (own, set())


def test_what_is_no_more_than_its_deviation_above_a_floor_is_near_it(tmp_path: Path) -> None:
    runs = [same("frozen", 40, seed=seed) for seed in (0, 1)]
    runs += [image_text("lora", 41, 40.5, 40, 60)]
    for value, near in ((44, {"nlvr2.accuracy"}), (47, {"nlvr2.accuracy", "vqav2.accuracy"})):
        second = image_text("lora", value, 40.5, 40, 80, seed=1)
        lora, _ = board(tmp_path, *runs, second).rows  # 42.5 +- 2.1, then 44 +- 4.2
        assert (lora.below_floor, lora.near_floor) == ({"nlvr2.accuracy"}, near)
