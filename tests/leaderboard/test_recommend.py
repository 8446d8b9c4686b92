"""What is recommended: the best row within limits, its ties, and what it gives up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import assert_refused, vlbench
from tests.leaderboard.scored import write_image_text
from vlbench.errors import NothingToReport, UsageError
from vlbench.leaderboard.examples import Examples
from vlbench.leaderboard.load import Filters, read_boards
from vlbench.leaderboard.recommend import Advice, recommend


def costs(percent: float, megabytes: float, minutes: float) -> dict[str, Any]:
    measured = {"peak_memory_bytes": int(megabytes * 1e6), "train_seconds": 60 * minutes}
    return {"trainable_percent": percent, **measured}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four methods of sixty examples a task, and a floor that costs nothing."""
    folder = tmp_path_factory.mktemp("recommended")
    for seed in range(5):
        write_image_text(folder, "full", 58, 58, 58, 58, **costs(100, 900, 2), seed=seed)
        write_image_text(folder, "compacter", 41, 40, 41, 40, **costs(9, 800, 2), seed=seed)
        write_image_text(folder, "lora", 40, 40, 40, 40, **costs(5, 700, 3), seed=seed)
        write_image_text(folder, "bitfit", 20, 20, 20, 20, **costs(1, 600, 1), seed=seed)
        write_image_text(folder, "frozen", 10, 10, 10, 10, **costs(0.5, 500, 1), seed=seed)
    return folder


def advice(folder: Path, **limits: float) -> Advice:
    examples = Examples(folder)
    boards = read_boards(folder, Filters(["image-text"]), examples)
    (only,) = recommend(boards, examples, limits)
    return only


def test_the_best_that_fits_is_recommended_with_what_ties_with_it(folder: Path) -> None:
    item = advice(folder, trainable_percent=10)
    assert item.recommended.method == "compacter" and item.top.method == "full"
    assert [row.method for row in item.ties] == ["lora"]
    assert advice(folder, peak_memory_mb=750).recommended.method == "lora"
    assert advice(folder, train_minutes=2, trainable_percent=5).recommended.method == "bitfit"
    assert not advice(folder, trainable_percent=1).ties


def test_what_it_gives_up_is_the_comparison_with_the_best_of_all(folder: Path) -> None:
    (pair,) = advice(folder, trainable_percent=10).pairs
    assert {item["verdict"] for item in pair.items} == {"worse"}
    difference = pair.items[0]["difference"]
    assert difference == pytest.approx(100 * (41 - 58) / 60)
    assert not advice(folder).pairs and advice(folder).recommended.method == "full"


def test_floors_are_never_recommended_and_nothing_that_fits_is_explained(folder: Path) -> None:
    with pytest.raises(NothingToReport, match=r"--max-trainable 0\.7: the least is 1 \(bitfit\)"):
        advice(folder, trainable_percent=0.7)
    with pytest.raises(UsageError, match="--max-memory inf: should be a number from 0 up"):
        advice(folder, peak_memory_mb=float("inf"))


def test_one_task_of_a_suite_is_decided_by_its_own_score(folder: Path) -> None:
    words = ("recommend", "--tasks", "gqa", "--max-trainable", "10", "--results", str(folder))
    (item,) = json.loads(vlbench(*words, "--format", "json").stdout)["items"]
    assert item["metric"] == "gqa.accuracy" and len(item["given_up"]) == 1
    assert [item["recommended"]["method"], *(row["method"] for row in item["ties"])] == [
        "compacter",
        "lora",
    ]


def test_rows_without_a_measured_cost_or_predictions_are_named(tmp_path: Path) -> None:
    write_image_text(tmp_path, "full", 58, 58, 58, 58, **costs(100, 900, 2))
    write_image_text(tmp_path, "lora", 50, 50, 50, 50, trainable_percent=5)
    write_image_text(tmp_path, "compacter", 50, 50, 51, 50, train_seconds=None)
    for file in tmp_path.glob("runs/lora*/predictions/gqa.parquet"):
        file.unlink()
    item = advice(tmp_path, train_minutes=5)
    assert "Left out, as what is limited was not measured: compacter." in item.notes
    assert "Not tested, so without ties: lora." in item.notes


def test_the_command_prints_tables_and_json_and_writes_a_file(folder: Path, tmp_path: Path) -> None:
    words = ("recommend", "--tasks", "image-text", "--results", str(folder))
    table = vlbench(*words, "--max-trainable", "10", "--max-memory", "850", "--max-minutes", "5")
    assert table.exit_code == 0, table.output
    lines = table.stdout.splitlines()
    limits = "at most 10 % trainable and at most 850 MB of peak memory and at most 5 minutes"
    assert limits in lines[0]
    for method, verdict in (("compacter", "recommended"), ("lora", "tied with it")):
        assert any(line.startswith(method) and line.endswith(verdict) for line in lines)
    assert any(line.startswith("full") and line.endswith("the best of all") for line in lines)
    assert "compacter (A) against full (B)" in table.stdout
    out = tmp_path / "advice.json"
    assert not vlbench(*words, "--format", "json", "--out", str(out)).stdout
    document = json.loads(out.read_text())
    assert document["schema"] == "vlbench.recommend/1"
    (item,) = document["items"]
    assert item["limits"] == dict.fromkeys(("trainable_percent", "peak_memory_mb", "train_minutes"))
    assert item["recommended"]["method"] == item["best"]["method"] == "full"
    assert item["recommended"]["peak_memory_mb"] == 900 and item["given_up"] == []
    assert_refused(vlbench(*words, "--max-trainable", "0.1"), 4, "no method above the floors fits")
    assert vlbench(*words, "--max-trainable", "101").exit_code == 2


@pytest.mark.slow
def test_the_committed_results_have_a_recommendation(project: Path) -> None:
    results = ("--results", str(project / "results" / "mini"))
    words = ("recommend", "--tasks", "image-text", "--max-trainable", "6", *results)
    (item,) = json.loads(vlbench(*words, "--format", "json").stdout)["items"]
    assert item["recommended"]["method"] == "shared-adapter"
    assert item["recommended"]["trainable_percent"] <= 6 and item["best"]["method"] == "full"
