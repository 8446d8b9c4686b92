"""How processes begin: nothing of the current folder, streams that nothing breaks, their threads.

Those that need a program of their own start one; each command line is bash.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.traps import set_traps
from vlbench.process import SPINS, isolated, worker_environment

FULL = "vlbench: standard output: the answer cannot be written: No space left on device.\n"
COMPARE = "compare compacter full --tasks vqav2 --results results/mini"
REPORT = "report --tasks vqav2 --results results/mini"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, None),
        ("", None),
        (".", None),
        (":/a", "/a"),
        ("/a:.::/b:src", "/a:/b:src"),
        (".:{here}", "{here}"),
    ],
)
def test_entries_that_mean_the_current_folder_leave_pythonpath_but_for_its_full_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None, after: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {} if before is None else {"PYTHONPATH": before.format(here=tmp_path)}
    environment = isolated(given)
    assert environment.get("PYTHONPATH") == (after and after.format(here=tmp_path))
    assert environment["PYTHONSAFEPATH"] == "1"


def test_a_worker_s_own_children_leave_the_current_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = set_traps(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ":/nowhere")
    program = "import multiprocessing, numpy, pickle, signal, sys; print(sys.path[0])"
    subprocess.run([sys.executable, "-c", program], env=worker_environment(1), check=True)
    assert not told.exists()


@pytest.mark.parametrize("path", [None, ":/nowhere"])
def test_a_command_imports_nothing_of_the_current_folder(tmp_path: Path, path: str | None) -> None:
    told = set_traps(tmp_path)
    for name in ("sitecustomize", "usercustomize", "vlbench"):  # found before we are
        (tmp_path / f"{name}.py").unlink(missing_ok=True)
    (tmp_path / "vlbench").rename(tmp_path / "elsewhere")
    more = {} if path is None else {"PYTHONPATH": path}
    script = "from vlbench.__main__ import main; main()"
    for start in (["-c", script], ["-m", "vlbench"]):
        done = subprocess.run(
            [sys.executable, *start, "list", "suites"],
            cwd=tmp_path,
            env={**os.environ, **more},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert not told.exists(), told.read_text()


def test_nothing_of_an_enclosing_job_reaches_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"RANK", "MASTER_PORT", "SLURM_JOB_ID", "OMPI_COMM_WORLD_RANK", "PMI_SIZE"}
    for name in names:
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "here"))
    monkeypatch.setenv("PMIND", "not one of them")
    environment = worker_environment(threads=3, devices="1,2")
    assert not names & set(environment)
    assert environment["VLBENCH_CACHE"].endswith("/here")
    assert environment["PMIND"] == "not one of them"
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["CUDA_VISIBLE_DEVICES"] == "1,2"


def test_threads_that_wait_spin_for_a_moment_only_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    assert worker_environment(1)["GOMP_SPINCOUNT"] == SPINS
    makefile = (project / "Makefile").read_text(encoding="utf-8")  # make bench measures so too
    assert f"bench: export GOMP_SPINCOUNT ?= {SPINS}\n" in makefile
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert worker_environment(1)["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    environment = worker_environment(1)
    assert environment["OMP_WAIT_POLICY"] == "ACTIVE"
    assert "GOMP_SPINCOUNT" not in environment  # it would count more
    assert "CUDA_VISIBLE_DEVICES" not in environment


def shell(line: str, project: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A line of bash in which `vlbench` is this checkout's."""
    program = f'vlbench() {{ "{sys.executable}" -m vlbench "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-c", program],
        capture_output=True,
        cwd=project,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )


def test_signs_that_the_encoding_lacks_are_escaped(project: Path) -> None:
    done = shell(f"vlbench {REPORT}", project, PYTHONIOENCODING="iso-8859-1")
    assert (done.returncode, done.stderr) == (0, b"")
    done = shell(f"vlbench {COMPARE}", project, PYTHONIOENCODING="cp1252")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"A \\u2212 B" in done.stdout.replace(b"\xa0", b" ")


def test_what_programs_read_is_whole_whatever_the_encoding(project: Path) -> None:
    code = "from vlbench.text import printable_json as p; print(p({'é𝄞−': '…'}))"  # noqa: RUF001
    done = shell(f'"{sys.executable}" -c "{code}"', project, PYTHONIOENCODING="cp1252")
    assert done.stdout.isascii() and json.loads(done.stdout) == {"é𝄞−": "…"}  # noqa: RUF001


@pytest.mark.parametrize(
    ("line", "code", "stderr"),
    [
        (f"vlbench {REPORT} --format csv > /dev/full", 3, FULL),
        ("vlbench --help > /dev/full", 3, FULL),
        ("vlbench list methods | true; exit ${PIPESTATUS[0]}", 141, ""),
        ('"$PYTHON" -c "$BUFFERED" > /dev/full', 3, FULL),
    ],
)
def test_an_answer_that_is_lost_is_one_line(
    line: str, code: int, stderr: str, project: Path
) -> None:
    buffered = (
        "import sys, vlbench.cli.app as app, vlbench.__main__ as program; "
        "app.main = lambda: print('answer'); program.main()"
    )
    done = shell(line, project, PYTHON=sys.executable, BUFFERED=buffered)
    assert (done.returncode, done.stderr.decode()) == (code, stderr)


def test_a_results_folder_may_have_a_name_that_is_not_utf_8(project: Path, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff"
    os.symlink(os.fsencode(project / "results" / "mini"), folder)
    done = shell(f"vlbench {COMPARE} --results $'{tmp_path}/\\xff'", project)
    assert done.returncode == 0
    assert "full of " in done.stdout.decode() and "[U+DCFF]" in done.stdout.decode()
