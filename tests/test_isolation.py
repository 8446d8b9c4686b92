"""What lies in the current folder is no Python module, for any process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running.builders import Bench
from tests.traps import set_traps
from vlbench.process import isolated, worker_environment
from vlbench.running.folder import RunFolder

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
