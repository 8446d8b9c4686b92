"""`vlbench compare`: words, exit codes, and what goes where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import Result

from tests.cli.command import assert_refused, vlbench
from tests.leaderboard.scored import write_image_text

NAMES = {
    "baseline": (50, 30, 40, 40),
    "equal": (50, 30, 40, 40),
    "damaged": (20, 30, 40, 40),
    "partial": (50, 30, 40, None),
}


@pytest.fixture(scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    for name, counts in NAMES.items():
        write_image_text(folder / name, "compacter", *counts)
    write_image_text(folder / "unlike", "compacter", 50, 30, 40, 40, data_fingerprint="x")
    write_image_text(folder / "equal", "full", 55, 35, 45, 45)
    (folder / "empty").mkdir()
    return folder


@pytest.fixture
def folder(_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A baseline; equal, damaged and unlike results beside it."""
    monkeypatch.chdir(tmp_path)
    for results in _folder.iterdir():
        (tmp_path / results.name).symlink_to(results)
    return tmp_path


def compare(*words: str) -> Result:
    return vlbench("compare", *words)


def gate(results: str, *words: str, baseline: str = "baseline", max_drop: str = "1") -> Result:
    places = ("--results", results, "--baseline", baseline)
    return compare("compacter", *places, "--max-drop", max_drop, *words)


def test_the_gate_ends_with_0_on_an_equal_run_and_1_on_a_drop_or_a_lost_task(folder: Path) -> None:
    passed = gate("equal")
    assert (passed.exit_code, passed.stderr) == (0, ""), passed.output
    assert "Gate passed: 5 compared" in passed.stdout
    failed = gate("damaged")
    assert failed.exit_code == 1
    assert "Gate failed" in failed.stdout and "vqav2 dropped by 50.0 points." in failed.stdout
    assert failed.stderr.startswith("vlbench: The gate failed, 2 do not pass: a significant")
    lost = gate("partial", max_drop="100")
    assert lost.exit_code == 1
    assert "coco lost: A has no result." in lost.stdout


@pytest.mark.parametrize(
    "words",
    [
        "compacter --results equal",
        "compactor --results equal --baseline baseline",
        "compacter --results equal --baseline baseline --max-drop -1",
        "compacter --results equal --baseline equal --max-drop 1",
        "compacter full --results equal --format xml",
        "compacter full --results equal --out .",
        "compacter full --results equal --tasks image-txt",
        "compacter --results none --baseline equal --max-drop 1 --out equal/none/x",
    ],
)
def test_words_that_do_not_fit_end_with_2(folder: Path, words: str) -> None:
    (folder / "x.txt").touch()
    assert_refused(compare(*words.replace("equal/none", "x.txt").split()), 2)


@pytest.mark.parametrize("baseline", ["empty", "missing", "unlike"])
def test_the_gate_ends_with_4_where_nothing_was_compared(folder: Path, baseline: str) -> None:
    assert gate("equal", baseline=baseline).exit_code == 4
    assert gate(baseline, baseline="equal").exit_code == 4


def test_smoke_runs_are_only_compared_when_included(folder: Path) -> None:
    for name in ("new", "old"):
        write_image_text(folder / name, "compacter", 50, 30, 40, 40, scope="smoke", limit=64)
    result = gate("new", baseline="old")
    assert result.exit_code == 4 and "--include smoke" in result.stderr
    assert gate("new", "--include", "smoke", baseline="old").exit_code == 0


def test_formats_for_programs_are_all_of_stdout(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.loads(gate("damaged", "--format", "json").stdout)
    assert document["schema"] == "vlbench.compare/3"
    assert document["gate"]["is_passed"] is False and len(document["items"]) == 5


NOTHING = {
    "missing folder": "compacter --results missing --baseline baseline",
    "empty folder": "compacter full --results empty",
    "no such row": "compacter lora --results equal",
    "other data": "compacter --results equal --baseline unlike",
}


@pytest.mark.parametrize("words", NOTHING.values(), ids=NOTHING)
def test_whatever_ends_with_4_is_told_to_programs_too(folder: Path, words: str) -> None:
    result = compare(*words.split(), "--max-drop", "1", "--format", "json")
    assert result.exit_code == 4
    document = json.loads(result.stdout)
    assert document["gate"]["is_passed"] is False and document["gate"]["compared"] == 0
    assert document["reason"] or all(item["reason"] for item in document["items"])
