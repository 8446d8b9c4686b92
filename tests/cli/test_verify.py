"""`vlbench verify` and `results export|import`: exit codes, the cells they name, archives."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.cli.command import assert_refused, items, vlbench
from tests.verify.builders import edit, reseal
from vlbench.runs.folder import stored_runs
from vlbench.runs.spec import RunSpec
from vlbench.runs.sums import NAME, result_files

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


def test_json_has_every_cell(adapter: Path, trained: Path) -> None:
    edit(adapter / RESULT, lambda rows: [row.update(seed=7, epochs=9, limit=1) for row in rows])
    reseal(adapter)
    result = vlbench("verify", trained, "--json")
    (item,) = items(result, "verify")
    assert result.exit_code == 1
    assert (item["key"], item["method"], item["holds"]) == (adapter.name, "shared-adapter", False)
    seeds = [fault for fault in item["faults"] if fault["column"] == "seed"]
    assert len(item["faults"]) == 3 * len(seeds) > 20
    assert (seeds[0]["stored"], seeds[0]["recomputed"]) == (7, 0)
    assert item["cells_checked"] > 100 and item["not_checked"][0]["cells"] > 0
    shown = vlbench("verify", trained).stdout
    assert shown.count(adapter.name) == 20 + 1 and f"and {3 * len(seeds) - 20} more cells" in shown


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


def test_runs_that_are_not_done_are_named(trained: Path) -> None:
    run, _ = sorted(trained.glob("runs/*"))
    for name in (RESULT, "status.json"):
        (run / name).unlink()
    assert f"left out, as not done: 1 ({run.name})" in vlbench("verify", trained).stderr


@pytest.mark.slow
@pytest.mark.parametrize("is_changed", [False, True])
def test_captions_of_the_embedded_leaderboard(
    project: Path, tmp_path: Path, is_changed: bool
) -> None:
    specs = {r: RunSpec.parse(r / "spec.json")[0] for r in stored_runs(project / "results/mini")}
    run = next(r for r, s in specs.items() if s.method.name == "full" and not s.is_trial)
    copy = tmp_path / "runs" / run.name
    (copy / "predictions").mkdir(parents=True)
    for name in (NAME, *result_files(run)):
        (copy / name).write_bytes((run / name).read_bytes())
    captions = copy / "predictions/coco.parquet"
    first = pq.read_table(captions)["id"][0].as_py()
    if is_changed:
        edit(captions, lambda rows: rows[0].update(prediction="a cat"))
        reseal(copy)
    (item,) = items(vlbench("verify", tmp_path, "--json"))
    cells = {(fault["row"], fault["column"]) for fault in item["faults"]}
    expected = {("coco.cider", "value"), ("coco.meteor", "value"), (first, "score")}
    assert cells >= expected if is_changed else not cells


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


def test_runs_are_packed_and_unpacked_and_read_in_between(adapter: Path, trained: Path) -> None:
    (adapter / "adapter.safetensors").unlink()
    before = vlbench("report", "--include", "smoke", "--results", trained).stdout
    packed = vlbench("results", "pack", "--results", trained)
    assert packed.exit_code == 0 and packed.stdout.split()[-2:] == [adapter.name, "packed"]
    assert packed.stderr.splitlines()[-1] == f"1 runs are packed in {trained / 'packed'}"
    assert vlbench("report", "--include", "smoke", "--results", trained).stdout == before
    assert vlbench("status", "--results", trained).stdout == "1 done (--all lists those done).\n"
    assert vlbench("logs", adapter.name, "--results", trained).exit_code == 0
    holds = vlbench("verify", trained)
    assert holds.exit_code == 0 and holds.stdout.startswith("1 run, "), holds.output
    (table,) = trained.glob("packed/*/rows.parquet")
    edit(table, lambda rows: rows[0].update(value=99.0))
    spoilt = vlbench("verify", trained)
    assert spoilt.exit_code == 1 and "packed (packed): " in spoilt.stdout
    assert_refused(vlbench("results", "unpack", "--results", trained), 3, "SHA256SUMS says")
    assert not list(trained.glob("runs/*"))


def test_an_unpacked_folder_is_as_before_and_nothing_to_pack_ends_with_4(
    adapter: Path, trained: Path
) -> None:
    (adapter / "adapter.safetensors").unlink()
    vlbench("results", "pack", "--results", trained)
    assert vlbench("results", "unpack", "--results", trained).stdout.split() == [
        "key",
        adapter.name,
    ]
    assert adapter.is_dir() and not (trained / "packed").exists()
    refused = vlbench("results", "unpack", "--results", trained)
    assert_refused(refused, 4, "nothing is packed here (looked for packed/)")
    assert vlbench("results", "pack", "--results", trained / "none").exit_code == 4
