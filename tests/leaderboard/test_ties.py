"""Tie groups of a board whose predictions lie beside its results."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.leaderboard.builders import run, write
from vlbench.leaderboard.board import Board, is_best
from vlbench.leaderboard.examples import Examples, tie_groups, with_ties
from vlbench.leaderboard.results import read_results
from vlbench.leaderboard.statistics import RowScores
from vlbench.leaderboard.summarise import summarise

TASKS = ("vqav2", "gqa")
N = 200


def add(
    folder: Path, method: str, level: float, seeds: int = 5, ids: int = 0, noise: float = 0.0
) -> None:
    """A method whose scores are about `level`, as results and predictions."""
    for seed in range(seeds):
        values: dict[str, float | None] = {}
        for number, task in enumerate(TASKS):
            rng = np.random.default_rng([number, len(method), seed])
            hard = np.random.default_rng(number).normal(0.0, 0.1, N)
            scores = level + hard + noise * rng.normal() + rng.normal(0.0, 0.02, N)
            key = f"{method}--mini-{seed}"
            file = folder / "runs" / key / "predictions" / f"{task}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            names = [f"{i + ids}" for i in range(N)]
            order = rng.permutation(N)  # files need not be in the same order
            table = {"id": [names[i] for i in order], "score": scores[order]}
            pq.write_table(pa.table(table | {"images": [[name] for name in table["id"]]}), file)
            values[task] = 100 * float(scores.mean())
        write(folder, run(method, values, seed=seed, suite="vqav2+gqa"))


def board(folder: Path) -> Board:
    (result,) = summarise(read_results(folder))
    return with_ties(result, Examples(folder))


def ties(folder: Path, column: str = "average") -> dict[str, int | None]:
    return {row.method: row.ties.get(column) for row in board(folder).rows}


def test_what_differs_clearly_is_in_groups_of_its_own(tmp_path: Path) -> None:
    for method, level in (("full", 0.8), ("lora", 0.6), ("adapter", 0.7)):
        add(tmp_path, method, level)
    expected = {"full": 1, "adapter": 2, "lora": 3}
    assert ties(tmp_path) == ties(tmp_path, "gqa.accuracy") == expected
    (note,) = board(tmp_path).notes
    assert "seeds unpaired (Welch)" in note


def test_rows_of_few_seeds_have_no_ties_and_the_best_of_them_is_bold_alone(tmp_path: Path) -> None:
    for method, level, seeds in (("full", 0.8, 5), ("adapter", 0.7, 5), ("lora", 0.6, 4)):
        add(tmp_path, method, level, seeds)
    assert ties(tmp_path) == {"full": 1, "adapter": 2, "lora": None}
    fewer = "Fewer than 5 seeds, so no ties: only the best mean is bold: "
    assert board(tmp_path).notes[-1] == f"{fewer}lora."
    shutil.rmtree(tmp_path / "runs" / "full--mini-4")
    assert ties(tmp_path) == {"full": 1, "adapter": None, "lora": None}
    shutil.rmtree(tmp_path / "runs" / "adapter--mini-4")
    few = board(tmp_path)
    assert [row.method for row in few.rows if is_best(row, "average")] == ["full"]
    assert list(few.notes) == [f"{fewer}all rows."]


def test_what_the_test_cannot_tell_from_the_best_ties_with_it(tmp_path: Path) -> None:
    for method, level in (("full", 0.8), ("compacter", 0.7999), ("lora", 0.5)):
        add(tmp_path, method, level)
    assert ties(tmp_path) == {"full": 1, "compacter": 1, "lora": 2}
    for seed in range(5):
        source, target = (tmp_path / "runs" / f"{name}--mini-{seed}" for name in ("full", "lora"))
        shutil.copytree(source / "predictions", target / "predictions", dirs_exist_ok=True)
    assert ties(tmp_path)["lora"] == 1  # equal answers, whatever is recorded


def test_rows_without_predictions_or_with_other_examples_are_not_ranked_and_named(
    tmp_path: Path,
) -> None:
    for method, level, ids in (("full", 0.8, 0), ("lora", 0.5, 0), ("adapter", 0.7, 0)):
        add(tmp_path, method, level, ids=ids)
    (tmp_path / "runs" / "lora--mini-1" / "predictions" / "gqa.parquet").unlink()
    assert ties(tmp_path) == {"full": 1, "lora": None, "adapter": 2}
    assert ties(tmp_path, "vqav2.accuracy")["lora"] == 3
    assert "Not tested, no readable predictions of gqa: lora." in board(tmp_path).notes
    add(tmp_path, "adapter", 0.7, ids=7)
    assert ties(tmp_path) == {"full": None, "lora": None, "adapter": None}
    fault = "Not tested, other vqav2 examples than the first row: adapter."
    assert fault in board(tmp_path).notes
    for folder in tmp_path.glob("runs/*/predictions"):
        shutil.rmtree(folder)
    (note,) = board(tmp_path).notes
    assert note == "Not tested, no readable predictions of vqav2: full, adapter, lora."


def test_runs_whose_files_have_the_same_order_share_their_ids(tmp_path: Path) -> None:
    file = tmp_path / "runs" / "{}" / "predictions" / "vqav2.parquet"
    for key, names in {"a": ["2", "1"], "b": ["2", "1"], "c": ["1", "2"]}.items():
        path = Path(str(file).format(key))
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table({"id": names, "score": [0.25, 0.75]}), path)
    a, b, c = (Examples(tmp_path).scores(key, "vqav2") for key in "abc")
    shared = Examples(tmp_path)
    assert shared.scores("a", "vqav2").ids is shared.scores("b", "vqav2").ids
    assert [x.values.tolist() for x in (a, b, c)] == [[0.75, 0.25], [0.75, 0.25], [0.25, 0.75]]


def test_a_single_row_is_no_best(tmp_path: Path) -> None:
    add(tmp_path, "full", 0.8)
    assert ties(tmp_path) == {"full": None}
    assert board(tmp_path).notes == []


def test_a_row_that_scatters_does_not_tie_past_one_that_is_told_apart() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(0.0, 0.1, N)
    levels = {
        "best": (0.8, (0.0,) * 5),
        "worse": (0.7, (0.0,) * 5),
        "scattered": (0.6, (-0.4, -0.3, 0.0, 0.3, 0.4)),  # alone with the best, it would tie
    }
    rows = {
        label: RowScores.of(
            [np.stack([level + off + shared + rng.normal(0.0, 0.02, N) for off in offsets])]
        )
        for label, (level, offsets) in levels.items()
    }
    assert tie_groups(rows) == {"best": 1, "worse": 2, "scattered": 2}
    assert tie_groups({label: rows[label] for label in ("best", "scattered")}) == {
        "best": 1,
        "scattered": 1,
    }
