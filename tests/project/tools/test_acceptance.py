"""The acceptance command: a board that tells methods apart meets each bar, others miss it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.leaderboard.builders import row, run, write
from tools.acceptance import Bar, all_bars
from vlbench.leaderboard.examples import Examples
from vlbench.leaderboard.load import Filters, read_boards

TASKS = ("vqav2", "gqa")
N, MAJORITY = 200, 30.0
FAMILIES = ["color" if n % 10 == 0 else "how many" for n in range(N)]
RIGHT = {"full": 160, "lora": 140, "adapter": 120, "frozen": 60}
"""Right answers of N, give or take one: full at 80 %, the floors at 30."""


def add(
    folder: Path,
    method: str,
    counts: Mapping[str, int],
    scatter: int = 1,
    seeds: int = 5,
    trials: int = 7,
    wrong: str = "",
) -> None:
    """Add a method's runs with right answers to all but the last questions, and its trials.

    `wrong`: a family whose questions it never answers.
    """
    shared = {"suite": "+".join(TASKS)}
    for seed in range(seeds):
        rows: list[dict[str, Any]] = []
        for task, count in counts.items():
            n_right = count + round(scatter * (seed - 2) / 2)
            scores = [float(n < n_right and FAMILIES[n] != wrong) for n in range(N)]
            about = {"seed": seed, "n_examples": N, "majority": MAJORITY} | shared
            rows.append(row(method, task, 100 * sum(scores) / N, **about))
            for family in sorted(set(FAMILIES)):
                own = [s for s, name in zip(scores, FAMILIES, strict=True) if name == family]
                about |= {"family": family, "n_examples": len(own)}
                rows.append(row(method, task, 100 * sum(own) / len(own), **about))
            ids = [f"{n:03}" for n in range(N)]
            cells = {"id": ids, "family": FAMILIES, "images": [[n] for n in ids], "score": scores}
            file = folder / "runs" / rows[0]["key"] / "predictions" / f"{task}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table(cells), file)
        write(folder, rows)
    for number in range(trials):
        about = {"key": f"{method}-trial-{number}", "scope": "search", "split": "val"}
        about |= {"settings": f"train.learning_rate={number + 1}e-3"} | shared
        write(folder, run(method, dict.fromkeys(counts, 50.0), **about))


def measured(folder: Path, **changes: dict[str, Any]) -> list[Bar]:
    """The bars of the board of RIGHT, with changes by method."""
    for method, count in RIGHT.items():
        options: dict[str, Any] = {"counts": dict.fromkeys(TASKS, count)}
        add(folder, method, **options | changes.get(method, {}))
    examples = Examples(folder)
    return all_bars(read_boards(folder, Filters(), examples), examples)


def test_a_board_that_tells_methods_apart_clears_every_bar(tmp_path: Path) -> None:
    bars = measured(tmp_path)
    assert len(bars) == 4 * len(TASKS) + 4
    assert [bar for bar in bars if not bar.is_met] == []
    assert {bar.of for bar in bars} == {
        *(f"vqav2+gqa on mini-bart: {task}" for task in TASKS),
        "vqav2+gqa on mini-bart",
    }


CASES: dict[str, tuple[str, str, dict[str, dict[str, Any]]]] = {
    "little to learn": (
        "full at least 25 points above the floor",
        "20.0 (80.0 - 60.0)",
        {"frozen": {"counts": {"vqav2": 60, "gqa": 120}}},
    ),
    "nothing left to learn": (
        "full at most 95 % of the scale",
        "97.5 %",
        {"full": {"counts": {"vqav2": 160, "gqa": 195}}},
    ),
    "methods at the floor": (
        "at least half of the methods above floor + 2 SE",
        "1 of 3",
        {m: {"counts": {"vqav2": 70 + n, "gqa": 140}} for n, m in enumerate(("lora", "adapter"))},
    ),
    "a family that full has not learnt": (
        "full more than 2 SE above the majority answer in families of over 3 % of the questions",
        "1 of 2, not color",
        {"full": {"wrong": "color"}},
    ),
    "seeds that scatter": (
        "median deviation over seeds of the normalised score at most 1.5",
        "6.32",
        {method: {"scatter": 8} for method in ("lora", "adapter")},
    ),
    "two rows of one method": (
        "no two rows equal in every cell",
        "adapter = lora",
        {"adapter": {"counts": dict.fromkeys(TASKS, 140)}},
    ),
    "too few seeds": (
        "5 seeds a row, with all tasks",
        "3 of 4, not lora 4",
        {"lora": {"seeds": 4}},
    ),
    "a shorter search": (
        "a search for every row, with as many trials",
        "3 of 4, not lora 5",
        {"lora": {"trials": 5}},
    ),
    "no full fine-tuning": (
        "full with all tasks, and a floor of each",
        "missing",
        {"full": {"counts": {"gqa": 160}}},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_bar_can_be_missed(tmp_path: Path, case: str) -> None:
    text, figure, changes = CASES[case]
    missed = {bar.text: bar.measured for bar in measured(tmp_path, **changes) if not bar.is_met}
    assert missed[text] == figure
    assert len(missed) == 1 or case == "no full fine-tuning"  # which other bars need


def test_a_family_of_few_questions_may_be_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.acceptance.SMALL_FAMILY", 0.1)
    assert all(bar.is_met for bar in measured(tmp_path, full={"wrong": "color"}))


def test_the_command_prints_every_bar_and_ends_with_1_where_one_is_missed(tmp_path: Path) -> None:
    def done(folder: Path) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "tools.acceptance", str(folder)]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    measured(tmp_path, lora={"seeds": 4})
    missed = done(tmp_path)
    assert missed.returncode == 1 and missed.stderr == ""
    lines = [line.split()[0] for line in missed.stdout.splitlines()[1:]]
    assert lines.count("ok") == len(lines) - 1 and lines.count("missed") == 1
    add(tmp_path, "lora", dict.fromkeys(TASKS, RIGHT["lora"]))
    assert done(tmp_path).returncode == 0
    nothing = done(tmp_path / "none")
    assert nothing.returncode == 4 and nothing.stderr.startswith("vlbench: ")
