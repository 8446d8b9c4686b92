"""`vlbench results export|import|seal`: from one folder to another, on the command line."""

from __future__ import annotations

import errno
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.runs.builders import Bench, do
from vlbench.cli.app import app
from vlbench.runs.sums import NAME


@pytest.fixture(scope="module")
def _results(_bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("packed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLBENCH_CACHE", str(_bench.root.parent / "cache"))
        for spec in (_bench.spec(limit=4), _bench.spec("frozen", limit=4)):
            do(spec, results)
    return results


@pytest.fixture
def results(bench: Bench, _results: Path, tmp_path: Path) -> Path:
    """Two runs that are done, of shared-adapter and frozen."""
    return Path(shutil.copytree(_results, tmp_path / "results"))


def vlbench(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


@pytest.mark.parametrize("name", ["runs.zip", "runs.tar.gz"])
def test_from_here_to_there_everything_holds(results: Path, tmp_path: Path, name: str) -> None:
    out, other = tmp_path / name, tmp_path / "other"
    packed = vlbench("results", "export", "--out", out, "--results", results)
    assert packed.exit_code == 0, packed.stderr
    assert "names places of this machine" in packed.stderr
    taken = vlbench("results", "import", out, "--results", other, "--json")
    assert taken.exit_code == 0, taken.stderr
    document = json.loads(taken.stdout)
    assert document["schema"] == "vlbench.import/1"
    assert [item["outcome"] for item in document["items"]] == ["added", "added"]
    assert "2 runs, " in taken.stderr and " 0 do not hold" in taken.stderr
    assert vlbench("verify", other).exit_code == 0
    again = vlbench("results", "import", out, "--results", other)
    assert again.exit_code == 0 and again.stdout.count("already there") == 2


def test_runs_are_chosen_by_words_and_by_filters(results: Path, tmp_path: Path) -> None:
    for number, words in enumerate((["frozen"], ["--method", "frozen"])):
        out = tmp_path / f"{number}.zip"
        packed = vlbench("results", "export", *words, "--out", out, "--results", results, "--json")
        (item,) = json.loads(packed.stdout)["items"]
        with zipfile.ZipFile(out) as archive:
            assert {file.split("/")[1] for file in archive.namelist()} == {item["key"]}
    assert (tmp_path / "0.zip").read_bytes() == (tmp_path / "1.zip").read_bytes()


def test_what_cannot_be_is_told_with_its_exit_code(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs.zip"
    export = ["results", "export", "--out", out, "--results"]
    assert vlbench(*export, tmp_path / "none").exit_code == 4
    assert vlbench(*export, results, "lora").exit_code == 2
    assert vlbench("results", "import", tmp_path / "none.zip").exit_code == 3
    out.write_bytes(b"hello")
    assert vlbench(*export, results).exit_code == 2
    assert out.read_bytes() == b"hello"
    below = vlbench("results", "export", "--out", out / "runs.zip", "--results", results)
    assert below.exit_code == 2
    assert "runs.zip is a file, no folder. Name another place: --out PATH" in below.stderr
    other = tmp_path / "other"
    refused = vlbench("results", "import", out, "--results", other)
    assert refused.exit_code == 3 and "not a .zip or .tar.gz" in refused.stderr
    assert not list(other.rglob("*"))


def test_seal_gives_sums_to_runs_without_and_leaves_others(results: Path) -> None:
    first, second = sorted(results.glob("runs/*"))
    (first / NAME).unlink()
    (second / "metrics.jsonl").write_text("changed since\n")
    kept = (second / NAME).read_bytes()
    done = vlbench("results", "seal", "--results", results, "--json")
    assert done.exit_code == 0, done.stderr
    items = json.loads(done.stdout)["items"]
    assert {item["key"]: item["outcome"] for item in items} == {
        first.name: "sealed",
        second.name: "sealed before",
    }
    assert (first / NAME).is_file() and (second / NAME).read_bytes() == kept
    lines = kept.decode().splitlines(keepends=True)
    (second / NAME).write_text("".join(lines[1:]))
    done = vlbench("results", "seal", "--results", results, "--json")
    outcomes = {item["key"]: item["outcome"] for item in json.loads(done.stdout)["items"]}
    assert outcomes == {first.name: "sealed before", second.name: "completed"}
    assert (second / NAME).read_text().splitlines()[1:] == kept.decode().splitlines()[1:]
    again = CliRunner().invoke(app, ["results", "seal"], env={"VLBENCH_RESULTS": str(results)})
    assert again.stdout.count("sealed before") == 2


def test_what_cannot_be_looked_into_is_named_beside_the_answer(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = sorted((results / "runs").iterdir())
    (results / "runs" / "theirs").mkdir()
    scandir = os.scandir

    def refuse(path: Any = ".") -> Any:
        if str(path).endswith("theirs"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", refuse)
    there = ("--results", results)
    for words in (
        ("results", "export", "--out", tmp_path / "runs.zip"),
        ("results", "seal"),
        ("report", "--include", "smoke"),
        ("verify",),
        ("list", "runs"),
        ("status", "--all"),
        ("compare", "frozen", "shared-adapter", "--include", "smoke"),
    ):
        done = vlbench(*words, *there)
        assert done.exit_code == 3, (words, done.output)
        assert f"Left out: {results / 'runs' / 'theirs'}: cannot be read" in done.stderr, words
        assert "frozen" in done.stdout or first.name in done.stdout or words == ("verify",)
