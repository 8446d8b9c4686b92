"""Standard streams in programs of their own: locales, full disks, readers that left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

FULL = "standard output: the answer cannot be written: No space left on device."
CLOSED = "standard output: the answer cannot be written: it is closed."
COMPARE = "compare compacter full --tasks tvqa --results results/mini"
REPORT = "report --tasks tvqa --results results/mini"


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


def test_signs_that_the_encoding_lacks_are_replaced(project: Path) -> None:
    done = shell(f"vlbench {REPORT}", project, PYTHONIOENCODING="iso-8859-1")
    assert (done.returncode, done.stderr) == (0, b"")
    done = shell(f"vlbench {COMPARE}", project, PYTHONIOENCODING="cp1252")
    assert (done.returncode, done.stderr) == (0, b"")
    assert "A - B" in done.stdout.decode("cp1252").replace("\xa0", " ")


def test_what_programs_read_is_whole_whatever_the_encoding(project: Path) -> None:
    done = shell(f"vlbench {COMPARE} --format junit", project, PYTHONIOENCODING="cp1252")
    assert "−" in "".join(ElementTree.fromstring(done.stdout).itertext())  # noqa: RUF001
    code = "from vlbench.text import printable_json as p; print(p({'é𝄞−': '…'}))"  # noqa: RUF001
    done = shell(f'"{sys.executable}" -c "{code}"', project, PYTHONIOENCODING="cp1252")
    assert done.stdout.isascii() and json.loads(done.stdout) == {"é𝄞−": "…"}  # noqa: RUF001


@pytest.mark.parametrize(
    "words", [f"{REPORT} --format csv", "list methods", "list tasks --json", "--version", "--help"]
)
def test_a_full_disk_behind_stdout_is_one_line_and_exit_3(words: str, project: Path) -> None:
    done = shell(f"vlbench {words} > /dev/full", project)
    assert (done.returncode, done.stderr.decode()) == (3, f"vlbench: {FULL}\n")


def test_a_closed_stdout_is_one_line_and_exit_3(project: Path) -> None:
    for words in ("--version", COMPARE):
        done = shell(f"vlbench {words} >&-", project)
        assert (done.returncode, done.stderr.decode()) == (3, f"vlbench: {CLOSED}\n")


def test_a_reader_that_left_ends_a_command_quietly_with_141(project: Path) -> None:
    done = shell("vlbench list methods | true; exit ${PIPESTATUS[0]}", project)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("where", ["> /dev/full", ">&-", "> >(true)"])
def test_a_command_keeps_its_exit_code_where_stderr_is_lost(where: str, project: Path) -> None:
    for words, code in (("list methods", 0), ("show nothing", 2), ("list --nope", 2)):
        done = shell(f"vlbench {words} 2{where}", project)
        assert (done.returncode, done.stderr) == (code, b"")


def test_what_is_buffered_still_at_the_end_is_not_lost_in_silence(project: Path) -> None:
    code = (
        "import sys, vlbench.cli.app as app, vlbench.__main__ as program; "
        "app.main = lambda: print('answer'); program.main()"
    )
    done = shell(f'"{sys.executable}" -c "{code}" > /dev/full', project)
    assert (done.returncode, done.stderr.decode()) == (3, f"vlbench: {FULL}\n")


def test_a_worker_goes_on_without_its_streams(project: Path) -> None:
    for where in ("> /dev/full 2>&1", ">&- 2>&-"):
        done = shell(f'"{sys.executable}" -m vlbench.worker {where}', project)
        assert done.returncode == 2


def test_a_results_folder_may_have_a_name_that_is_not_utf_8(project: Path, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff"
    os.symlink(os.fsencode(project / "results" / "mini"), folder)
    done = shell(f"vlbench {COMPARE} --results $'{tmp_path}/\\xff'", project)
    assert done.returncode == 0
    assert "full of " in done.stdout.decode() and "[U+DCFF]" in done.stdout.decode()
