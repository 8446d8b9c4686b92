"""`vlbench data`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.data.mini.builders import TINY, TINY_VIDEO
from tests.running.builders import Bench
from vlbench.cards.load import all_tasks
from vlbench.cli.app import app
from vlbench.data.mini import edition, write, write_video


def data(*words: str) -> Result:
    return CliRunner().invoke(app, ["data", *words])


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make-mini` writes a tiny edition."""
    monkeypatch.setattr(
        edition,
        "write_mini",
        lambda folder, seed, progress: write.write_mini(folder, seed, TINY, progress),
    )
    monkeypatch.setattr(
        edition,
        "write_video",
        lambda folder, seed, progress: write_video.write_video(folder, seed, TINY_VIDEO, progress),
    )


@pytest.mark.usefixtures("tiny")
def test_make_mini_writes_an_edition_with_a_contact_sheet(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "mini"
    result = data("make-mini", "--out", str(out))
    assert result.exit_code == 0
    assert result.stdout == f"{out}\n"
    assert (out / "contact_sheet.png").is_file()
    assert [path.name for path in out.parent.iterdir()] == ["mini"]
    assert data("check", "--tasks", "image-text", "--root", str(out)).exit_code == 0


@pytest.mark.usefixtures("tiny")
def test_make_mini_leaves_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    result = data("make-mini", "--out", str(tmp_path))
    assert result.exit_code == 2
    assert "not empty: name a new folder" in result.stderr
    result = data("make-mini", "--out", str(tmp_path / "file"))
    assert result.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert data("make-mini", "--out", str(tmp_path / "x"), "--seed", "-1").exit_code == 2


def test_check_counts_examples_and_pictures(bench: Bench) -> None:
    result = data("check", "--tasks", "nlvr2", "--root", str(bench.root), "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["schema"] == "vlbench.check/1"
    first = document["items"][0]
    assert {key: first[key] for key in ("task", "split", "examples", "pictures", "ready")} == {
        "task": "nlvr2",
        "split": "train",
        "examples": 24,
        "pictures": 24,
        "ready": True,
    }
    assert first["files"] == {str(bench.root / "nlvr2" / "train.json"): True}
    assert first["problems"] == [] and first["counts"] == {"consistency groups": 6}
    table = data("check", "--tasks", "nlvr2", "--root", str(bench.root)).stdout.splitlines()
    assert table[0].split() == ["task", "split", "examples", "pictures", "features", "state"]
    assert len(table) == 4
    assert table[1].split()[-1] == "ready"


def test_check_goes_on_after_what_it_misses_and_exits_3(bench: Bench, tmp_path: Path) -> None:
    result = data("check", "--tasks", "nlvr2,gqa", "--root", str(tmp_path), "--edition", "full")
    assert result.exit_code == 3
    assert [line.split()[:2] for line in result.stdout.splitlines()[1:]] == [
        ["nlvr2", "train"], ["nlvr2", "dev"], ["nlvr2", "test1"],
        ["gqa", "train"], ["gqa", "val"], ["gqa", "testdev"],
    ]  # fmt: skip
    assert result.stderr.count("published at https://") == 6
    assert "A run could not start with these data." in result.stderr


def test_check_without_tasks_looks_at_all_of_the_edition(tmp_path: Path) -> None:
    result = data("check", "--edition", "full", "--root", str(tmp_path), "--json")
    assert result.exit_code == 3
    told = {item["task"] for item in json.loads(result.stdout)["items"]}
    assert told == {card.name for card in all_tasks() if "full" in card.splits}


def test_check_uses_the_only_edition_of_a_task(tmp_path: Path) -> None:
    result = data("check", "--tasks", "nlvr", "--root", str(tmp_path))
    assert result.exit_code == 3
    assert str(tmp_path / "nlvr") in result.stderr


def test_check_tells_what_it_misses(tmp_path: Path) -> None:
    result = data("check", "--tasks", "gqa", "--root", str(tmp_path / "nowhere"))
    assert result.exit_code == 3
    assert "train_balanced_questions.json" in result.stderr
    assert data("check", "--tasks", "gqa", "--edition", "ful").exit_code == 2
    assert data("check", "--tasks", "gqq").exit_code == 2
    nowhere = (
        "--features",
        str(tmp_path / "nowhere"),
        "--edition",
        "full",
        "--root",
        str(tmp_path),
    )
    assert data("check", "--tasks", "gqa", *nowhere).exit_code == 3


def test_a_file_that_several_splits_and_tasks_miss_is_told_once(tmp_path: Path) -> None:
    result = data("check", "--edition", "full", "--tasks", "image-text", "--root", str(tmp_path))
    assert result.exit_code == 3
    lines = [line for line in result.stderr.splitlines() if ": no file " in line]
    files = [line.partition(": no file ")[2].split()[0] for line in lines]
    assert len(files) == len(set(files)) == 11
    [shared] = [line for line in lines if "dataset_coco.json" in line]
    assert "vqav2 train, val, test; coco train, val, test: no file" in shared
