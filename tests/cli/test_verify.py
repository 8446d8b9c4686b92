"""`vlbench verify` and `results export|import|seal`: exit codes, the cells they name, archives."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import assert_refused, items, vlbench
from tests.verify.builders import edit
from vlbench.runs.sums import NAME

RESULT = "result.parquet"


def test_what_holds_ends_with_0_and_counts(adapter: Path, trained: Path) -> None:
    for result in (
        vlbench("verify", trained),
        vlbench("verify", "--results", trained),
        vlbench("verify", VLBENCH_RESULTS=str(trained)),
    ):
        assert result.exit_code == 0, result.output
        first, *reasons = result.stdout.splitlines()
        assert first.startswith("1 run, ") and ", 0 do not hold, " in first
        assert any(line.endswith("SHA256SUMS and the scores speak for it") for line in reasons)
        assert result.stderr.splitlines()[-1] == "1 of 1 runs verified"


def test_a_changed_digit_ends_with_1_and_names_the_cell(adapter: Path, trained: Path) -> None:
    edit(adapter / RESULT, lambda rows: rows[0].update(n_examples=5))
    result = vlbench("verify", trained)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    (line,) = [line for line in lines if "n_examples" in line]
    assert adapter.name in line and "shared-adapter" in line and "seed 0" in line
    assert line.endswith(f"{RESULT} vqav2.accuracy n_examples: 5, recomputed 4")
    assert any("sha256" in line for line in lines)


def test_nothing_to_verify_ends_with_4_and_a_wrong_word_with_2(
    adapter: Path, trained: Path, tmp_path: Path
) -> None:
    for words in ([tmp_path / "none"], [trained, "--method", "full"], [trained, "--seeds", "5"]):
        assert_refused(vlbench("verify", *words), 4)
    for words in (["--method", "fulll"], ["--seeds", "one"]):
        assert vlbench("verify", trained, *words).exit_code == 2
    (adapter / RESULT).unlink()
    (adapter / "status.json").unlink()
    assert_refused(vlbench("verify", trained), 4, "1 runs there, none done")


def test_from_one_folder_to_another_everything_holds(trained: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "runs.tar.gz", tmp_path / "other"
    packed = vlbench("results", "export", "--out", out, "--results", trained)
    assert packed.exit_code == 0, packed.stderr
    taken = vlbench("results", "import", out, "--results", other, "--json")
    assert taken.exit_code == 0, taken.stderr
    assert [item["outcome"] for item in items(taken, "import")] == ["added", "added"]
    assert "2 runs, " in taken.stderr and " 0 do not hold" in taken.stderr
    assert vlbench("verify", other).exit_code == 0
    again = vlbench("results", "import", out, "--results", other)
    assert again.exit_code == 0 and again.stdout.count("already there") == 2


def test_archives_that_cannot_be_end_in_their_exit_code(trained: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "runs.tar.gz", tmp_path / "other"
    export = ["results", "export", "--out", out, "--results"]
    assert vlbench(*export, tmp_path / "none").exit_code == 4
    assert vlbench(*export, trained, "--method", "loraa").exit_code == 2
    assert vlbench("results", "import", tmp_path / "none.tar.gz").exit_code == 3
    out.write_bytes(b"hello")
    assert vlbench(*export, trained).exit_code == 2
    assert out.read_bytes() == b"hello"
    below = vlbench("results", "export", "--out", out / "runs.tar.gz", "--results", trained)
    assert_refused(below, 2, "runs.tar.gz is a file, no folder. Name another place: --out PATH")
    refused = vlbench("results", "import", out, "--results", other)
    assert_refused(refused, 3, "not a whole .tar.gz archive")
    assert not list(other.rglob("*"))


def test_seal_gives_sums_to_runs_without_and_leaves_others(trained: Path) -> None:
    def outcomes() -> dict[str, str]:
        result = vlbench("results", "seal", "--json", VLBENCH_RESULTS=str(trained))
        assert result.exit_code == 0, result.stderr
        return {item["key"]: item["outcome"] for item in items(result)}

    first, second = sorted(trained.glob("runs/*"))
    (first / NAME).unlink()
    (second / "metrics.jsonl").write_text("changed since\n")
    result = vlbench("verify", trained)
    assert result.exit_code == 1
    assert [line for line in result.stdout.splitlines() if first.name in line and NAME in line]
    assert "vlbench results seal" in result.stdout
    kept = (second / NAME).read_bytes()
    assert outcomes() == {first.name: "sealed", second.name: "sealed before"}
    assert (first / NAME).is_file() and (second / NAME).read_bytes() == kept
    lines = kept.decode().splitlines(keepends=True)
    (second / NAME).write_text("".join(lines[1:]))
    assert outcomes() == {first.name: "sealed before", second.name: "completed"}
    assert (second / NAME).read_text().splitlines()[1:] == kept.decode().splitlines()[1:]


def test_what_cannot_be_looked_into_is_named_beside_the_answer(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = sorted((trained / "runs").iterdir())
    (trained / "runs" / "theirs").mkdir()
    scandir = os.scandir

    def refuse(path: Any = ".") -> Any:
        if str(path).endswith("theirs"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", refuse)
    for words in (
        ("results", "export", "--out", tmp_path / "runs.tar.gz"),
        ("results", "seal"),
        ("report", "--include", "smoke"),
        ("verify",),
        ("list", "runs"),
        ("status", "--all"),
        ("compare", "frozen", "shared-adapter", "--include", "smoke"),
    ):
        done = vlbench(*words, "--results", trained)
        assert done.exit_code == 3, (words, done.output)
        assert f"Left out: {trained / 'runs' / 'theirs'}: cannot be read" in done.stderr, words
        assert "frozen" in done.stdout or first.name in done.stdout or words == ("verify",)
