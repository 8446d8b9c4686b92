"""Runs in a few Parquet files: every reader sees what their folders held, byte for byte."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.leaderboard.scored import write_image_text
from vlbench.errors import DataError, MissingError
from vlbench.leaderboard.examples import Examples
from vlbench.leaderboard.results import read_result, read_results
from vlbench.parquet import LATER, encode
from vlbench.runs.folder import RunFolder, list_runs, stored_runs
from vlbench.runs.packed import TABLES, Pack, packs_of
from vlbench.runs.packing import pack, unpack
from vlbench.runs.spec import RunSpec
from vlbench.runs.sums import RESULT, WEIGHTS, result_files, write_sums

Contents = dict[str, bytes]


@pytest.fixture
def results(finished: tuple[RunSpec, RunFolder], tmp_path: Path) -> Path:
    """A results folder with one run that is done, without its weights."""
    path = finished[1].path
    copy = Path(shutil.copytree(path, tmp_path / "results" / "runs" / path.name))
    (copy / WEIGHTS).unlink()
    return tmp_path / "results"


def contents(folder: Path) -> Contents:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def test_unpacked_files_have_the_bytes_that_were_packed(results: Path) -> None:
    before = contents(results)
    (key,) = pack(results).packed
    assert sorted(contents(results)) == sorted(
        ["packed/SHA256SUMS", *(f"packed/vqav2+nlvr2/{table}.parquet" for table in TABLES)]
    )
    assert unpack(results) == [key]
    assert contents(results) == before


def test_the_same_runs_give_the_same_packs(results: Path) -> None:
    pack(results)
    first = contents(results)
    assert pack(results).packed and contents(results) == first


def test_a_packed_run_is_read_as_its_folder_was(
    results: Path, finished: tuple[RunSpec, RunFolder]
) -> None:
    def seen() -> object:
        (run,), (folder,) = stored_runs(results), RunFolder.all(results)
        files = {name: (run / name).read_bytes() for name in result_files(run)}
        scores = Examples(results).scores(run.name, "vqav2").values.tolist()
        rows = read_results(results).to_dict("list")
        return files, scores, str(rows), list_runs(results), folder.name, folder.state

    before = seen()
    pack(results)
    assert not list((results / "runs").iterdir())
    assert seen() == before
    folder = RunFolder.of(results, finished[0])
    folder.settle()
    assert folder.is_done and not folder.path.exists()


def test_runs_that_cannot_come_back_keep_their_folders(results: Path) -> None:
    (run,) = (results / "runs").iterdir()
    changes: dict[str, tuple[str, Callable[[Path], object]]] = {
        "weights": (f"{WEIGHTS} is no text", lambda r: (r / WEIGHTS).write_bytes(b"\xff")),
        "unfinished": ("it is not done", lambda r: (r / "result.parquet").unlink()),
        "copy": ("result.parquet holds rows of another run, or none", lambda r: None),
        "link": ("plot.svg is no plain file", lambda r: (r / "plot.svg").symlink_to("spec.json")),
        "curve": ("metrics.jsonl is not as", lambda r: (r / "metrics.jsonl").write_text("[]\n")),
        "answers": (
            "predictions/vqav2.parquet cannot be read",
            lambda r: (r / "predictions/vqav2.parquet").write_bytes(b"half"),
        ),
    }
    for name, (_, change) in changes.items():
        change(Path(shutil.copytree(run, run.with_name(name))))
    packing = pack(results)
    assert packing.packed == [run.name] and packing.left.keys() == changes.keys()
    for name, (reason, _) in changes.items():
        assert reason in packing.left[name]
        assert (results / "runs" / name).is_dir()


def test_a_file_that_another_program_wrote_keeps_its_run_in_a_folder(results: Path) -> None:
    (run,) = (results / "runs").iterdir()
    file = run / "predictions" / "nlvr2.parquet"
    pq.write_table(pq.read_table(file), file, compression="gzip")
    before = contents(results)
    reason = f"{file.relative_to(run)} would not come back byte for byte: written otherwise"
    assert pack(results).left == {run.name: reason}
    assert contents(results) == before


def test_a_run_that_trained_nothing_has_an_empty_curve_and_comes_back(results: Path) -> None:
    (run,) = (results / "runs").iterdir()
    (run / "metrics.jsonl").write_bytes(b"")
    (run / "SHA256SUMS").unlink(missing_ok=True)
    before = contents(run)
    assert pack(results).packed == [run.name]
    unpack(results)
    assert contents(run) == before


def test_new_runs_beside_a_pack_are_read_and_packed_with_it(results: Path) -> None:
    (old,) = pack(results).packed
    new = write_image_text(results, "lora", 30, 20, 10, 5)
    assert {*read_results(results)["key"]} == {old, new}
    shutil.copytree(results / "runs" / new, results / "runs" / "copy")
    with pytest.raises(DataError, match=f"Run {new} is in .*copy too"):
        read_results(results)


def test_a_folder_without_a_result_hides_no_packed_run_and_costs_it_nothing(results: Path) -> None:
    rows = len(read_results(results))
    (key,) = pack(results).packed
    begun = results / "runs" / key
    begun.mkdir(parents=True)
    (begun / "spec.json").write_text("{}")
    assert len(read_results(results)) == rows
    before = contents(results)
    with pytest.raises(DataError, match="a run without a result stands where"):
        unpack(results)
    with pytest.raises(DataError, match="a run without a result stands where"):
        pack(results)
    assert contents(results) == before


def test_a_run_in_a_folder_and_in_a_pack_counts_once(results: Path) -> None:
    whole = shutil.copytree(results / "runs", results.parent / "kept")
    rows = len(read_results(results))
    pack(results)
    shutil.copytree(whole, results / "runs", dirs_exist_ok=True)
    assert len(read_results(results)) == rows
    assert [*stored_runs(results)] == [*(results / "runs").iterdir()]


KILLED = """
import os, shutil, sys
from pathlib import Path
from vlbench.runs import packing

def counted(function):
    def call(*words, **options):
        global left
        left -= 1
        if left == 0:
            os._exit(9)
        return function(*words, **options)
    return call

results, kept, what = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
for moment in range(1, 99):
    shutil.rmtree(results, ignore_errors=True)
    shutil.copytree(kept, results)
    if not (child := os.fork()):
        left = moment
        Path.rename, shutil.rmtree = counted(Path.rename), counted(shutil.rmtree)
        packing._write = counted(packing._write)
        getattr(packing, what)(results)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    shutil.copytree(results, f"{results}-{moment}")
    if not ended:
        break
"""


@pytest.mark.parametrize("what", ["pack", "unpack"])
def test_wherever_a_process_is_killed_every_run_is_whole(results: Path, what: str) -> None:
    (folder,) = (results / "runs").iterdir()
    shutil.rmtree(folder / "predictions")  # which take longest
    run = Path(shutil.copytree(folder, results.parent / folder.name))
    if what == "unpack":
        pack(results)
    kept = results.rename(results.parent / "kept")
    words = [sys.executable, "-c", KILLED, str(results), str(kept), what]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    moments = sorted(results.parent.glob("results-*"))
    assert len(moments) > 3
    for moment in moments:
        (stored,) = stored_runs(moment)
        for name, content in contents(run).items():
            assert (stored / name).read_bytes() == content, (moment, name)
        unpack(moment)  # and what was begun can be finished
        assert contents(moment / "runs" / run.name) == contents(run)


def test_any_engine_reads_the_tables(results: Path) -> None:
    plain = read_results(results)
    (run,) = (results / "runs").iterdir()
    answers = pd.read_parquet(run / "predictions" / "nlvr2.parquet")
    pack(results)
    (folder,) = (results / "packed").glob("*/")
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder / "rows.parquet")[["key", "metric", "value"]],
        plain[["key", "metric", "value"]].astype({"key": str, "metric": str}),
    )
    query = "SELECT count(*), avg(score) FROM '{}' WHERE key = '{}' AND task = 'nlvr2'"
    count, mean = duckdb.sql(query.format(folder / "predictions.parquet", run.name)).fetchall()[0]
    assert (count, mean) == (len(answers), pytest.approx(answers["score"].mean()))


def test_another_pyarrow_reads_packs_and_says_what_unpacks_them(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(results)
    monkeypatch.setattr("vlbench.runs.packed.WRITER", "parquet-cpp-arrow version 99.0.0")
    assert len(read_results(results))
    version = packs_of(results)[0].writer.rpartition(" ")[2]
    with pytest.raises(MissingError, match=f"pip install pyarrow=={version}"):
        pack(results)


def test_a_pack_from_before_a_column_came_is_read_and_unpacked(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LATER, "created_at", "long ago")
    (run,) = (results / "runs").iterdir()
    old = pq.read_table(run / RESULT).drop_columns(["created_at"])
    (run / RESULT).write_bytes(encode(old))
    write_sums(run)
    before = contents(results)
    assert pack(results).packed == [run.name]
    rewritten(packs_of(results)[0], "rows", lambda table: table.drop_columns(["created_at"]))
    assert {*read_results(results)["created_at"]} == {"long ago"}
    (stored,) = stored_runs(results)
    assert read_result(stored / RESULT)["created_at"][0].as_py() == "long ago"
    unpack(results)
    assert contents(results) == before


def rewritten(pack: Pack, table: str, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(pack.file(table))), pack.file(table))


SPOILT: dict[str, tuple[str, Callable[[pa.Table], pa.Table], str]] = {
    "a key that leads elsewhere": (
        "rows",
        lambda t: t.set_column(0, t.schema.field(0), pa.array(["../../x"] * len(t), pa.string())),
        "'../../x' is no file's name",
    ),
    "a run in two places": (
        "rows",
        lambda t: pa.concat_tables(
            [t, t.set_column(0, t.schema.field(0), pa.array(["k"] * len(t), pa.string())), t]
        ),
        "stands in two places",
    ),
    "a missing column": ("rows", lambda t: t.drop_columns(["value"]), "other columns than key"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_packs_from_anywhere_are_refused_in_words(results: Path, name: str) -> None:
    pack(results)
    table, change, message = SPOILT[name]
    rewritten(packs_of(results)[0], table, change)
    with pytest.raises(DataError, match=message):
        read_results(results)
    assert not [*results.parent.glob("x*")]
