"""What lies in the current folder is no Python module, for any process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.builders import Bench
from tests.traps import set_traps
from vlbench.process import SPINS, isolated, worker_environment
from vlbench.runs.folder import RunFolder

COMMAND = "from vlbench.__main__ import main; main()"  # as the script `vlbench` has it


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, None),
        ("", None),
        (".", None),
        (":/a", "/a"),
        ("/a:.::/b:src", "/a:/b:src"),
    ],
)
def test_entries_that_mean_the_current_folder_leave_pythonpath(
    before: str | None, after: str | None
) -> None:
    given = {} if before is None else {"PYTHONPATH": before}
    found = isolated(given)
    assert (found.get("PYTHONPATH"), found["PYTHONSAFEPATH"]) == (after, "1")


def test_the_full_path_of_the_current_folder_stays_in_pythonpath(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert isolated({"PYTHONPATH": f".:{tmp_path}"})["PYTHONPATH"] == str(tmp_path)


def test_a_worker_s_own_children_leave_the_current_folder_alone(tmp_path, monkeypatch) -> None:
    told = set_traps(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ":/nowhere")
    environment = worker_environment()
    program = "import multiprocessing, numpy, pickle, signal, sys; print(sys.path[0])"
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert not told.exists()


@pytest.mark.parametrize("path", [None, ":/nowhere"])
def test_a_command_imports_nothing_of_the_current_folder(tmp_path, path: str | None) -> None:
    told = set_traps(tmp_path)
    for name in ("sitecustomize", "usercustomize", "vlbench"):  # found before we are
        (tmp_path / f"{name}.py").unlink(missing_ok=True)
    (tmp_path / "vlbench").rename(tmp_path / "elsewhere")
    more = {} if path is None else {"PYTHONPATH": path}
    words = ["show", "config"]
    for start in (["-c", COMMAND], ["-m", "vlbench"]):
        done = subprocess.run(
            [sys.executable, *start, *words],
            cwd=tmp_path,
            env={**os.environ, **more},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert not told.exists(), told.read_text()


def test_a_run_in_two_processes_imports_nothing_of_the_current_folder(
    bench: Bench, tmp_path: Path
) -> None:
    """The command, the worker, the other rank, and what these start."""
    told = set_traps(tmp_path)
    results = tmp_path / "results"
    words = bench.words("--limit", "4", "--processes", "2", "--results", str(results))
    done = subprocess.run(
        [sys.executable, "-P", "-c", COMMAND, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not told.exists(), told.read_text()
    assert [folder.state for folder in RunFolder.all(results)] == ["done"]


PROGRAM = """
import gc
from vlbench.process import RARE, collect_as_usual, collect_rarely

gc.set_threshold(RARE)  # somebody else's choice
collect_as_usual()
assert gc.get_threshold()[0] == RARE and not gc.get_freeze_count()
gc.set_threshold(5_000)
usual = gc.get_threshold()
collect_rarely()
assert gc.get_threshold()[0] == RARE
collect_as_usual()
assert gc.get_threshold() == usual and gc.get_freeze_count() > 1000
"""


def test_garbage_is_collected_rarely_until_a_process_computes() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


def test_the_main_program_and_the_worker_begin_with_it() -> None:
    for program in (
        "import sys; sys.argv = ['vlbench', '--help']; from vlbench.__main__ import main; main()",
        "from vlbench.worker import main; main(['nowhere'], has_signals=True)",
    ):
        told = (
            f"import atexit, gc; atexit.register(lambda: print(gc.get_threshold()[0])); {program}"
        )
        done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True)
        assert done.stdout.splitlines()[-1] == "100000", done.stderr


def test_nothing_of_an_enclosing_job_reaches_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "MASTER_PORT", "SLURM_JOB_ID", "OMPI_COMM_WORLD_RANK", "PMI_SIZE"):
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "here"))
    monkeypatch.setenv("PMIND", "not one of them")
    environment = worker_environment(threads=3, devices="1,2")
    assert not {"RANK", "MASTER_PORT", "SLURM_JOB_ID", "OMPI_COMM_WORLD_RANK", "PMI_SIZE"} & set(
        environment
    )
    assert environment["VLBENCH_CACHE"].endswith("/here")
    assert environment["PMIND"] == "not one of them"
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["CUDA_VISIBLE_DEVICES"] == "1,2"


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    environment = worker_environment()
    assert environment["OMP_WAIT_POLICY"] == "ACTIVE"
    assert "GOMP_SPINCOUNT" not in environment  # it would count more
    assert "CUDA_VISIBLE_DEVICES" not in environment


def test_make_bench_measures_with_threads_that_wait_as_those_of_workers() -> None:
    makefile = Path(__file__).parents[1] / "Makefile"
    assert f"bench: export GOMP_SPINCOUNT ?= {SPINS}\n" in makefile.read_text(encoding="utf-8")


def test_threads_that_wait_spin_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert worker_environment()["GOMP_SPINCOUNT"] == SPINS
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert worker_environment()["GOMP_SPINCOUNT"] == "7"
