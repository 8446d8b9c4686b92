"""`vlbench data`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.data.mini.builders import TINY
from tests.running.builders import Bench
from vlbench.cli.app import app
from vlbench.data.mini import edition, write


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
    document = json.loads(result.stdout)
    assert document["schema"] == "vlbench.check/1"
    assert document["items"][0] == {
        "task": "nlvr2",
        "split": "train",
        "examples": 24,
        "pictures": 24,
    }
    table = data("check", "--tasks", "nlvr2", "--root", str(bench.root)).stdout.splitlines()
    assert table[0].split() == ["task", "split", "examples", "pictures"]
    assert len(table) == 4


def test_check_uses_the_only_edition_of_a_task(tmp_path: Path) -> None:
    result = data("check", "--tasks", "nlvr", "--root", str(tmp_path))
    assert result.exit_code == 3
    assert "Looked for:" in result.stderr
    assert str(tmp_path / "nlvr") in result.stderr


def test_check_tells_what_it_misses(tmp_path: Path) -> None:
    result = data("check", "--tasks", "gqa", "--root", str(tmp_path / "nowhere"))
    assert result.exit_code == 3
    assert "train_balanced_questions.json" in result.stderr
    assert result.stdout == ""
    assert data("check", "--tasks", "gqa", "--edition", "ful").exit_code == 2
    assert data("check", "--tasks", "gqq").exit_code == 2
