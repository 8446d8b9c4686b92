from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from vlbench.errors import DataError
from vlbench.files import read_object, remove_dead_beside, temporary_beside, write_atomically


@pytest.mark.parametrize(
    "content",
    ["two\n", b"two\n", lambda path: path.write_text("two\n")],
    ids=["str", "bytes", "call"],
)
def test_a_file_is_replaced_whole(content, tmp_path) -> None:
    path = tmp_path / "new" / "file.txt"
    write_atomically(path, "one")
    write_atomically(path, content)
    assert path.read_bytes() == b"two\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path) -> None:
    path = tmp_path / "file.txt"
    write_atomically(path, "old")

    def fail(beside) -> None:
        beside.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def leftover(path: Path, pid: int) -> Path:
    """What a process of that number left of writing `path`."""
    own = temporary_beside(path)
    return own.with_name(own.name.replace(f".{os.getpid()}-", f".{pid}-"))


def test_what_a_dead_process_left_is_taken_away_and_nothing_else(tmp_path) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    path = tmp_path / "import"
    dead, folder, other = (leftover(path, process.pid) for _ in range(3))
    dead.touch()
    (folder / "runs").mkdir(parents=True)
    other = other.with_name(other.name.replace("import", "export"))
    living = temporary_beside(path)
    elsewhere = tmp_path / f".import.{process.pid}-0123450000.tmp"
    forgotten = tmp_path / f".import.{process.pid}-0123450001.tmp"
    for file in (other, living, elsewhere, forgotten, tmp_path / ".import.mine.tmp"):
        file.touch()
    os.utime(forgotten, (0, 0))
    remove_dead_beside(path)
    kept = {other.name, living.name, elsewhere.name, ".import.mine.tmp"}
    assert {file.name for file in tmp_path.iterdir()} == kept


@pytest.mark.parametrize(
    "content",
    [b"[1]", b"7", b"{", b"", b"[" * 100_000, b'{"a": ' * 100_000, b"\xff", b'{"a": "\\ud800"}'],
)
def test_what_is_no_json_object_is_told_with_its_file(content, tmp_path) -> None:
    file = tmp_path / "status.json"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"status\.json: cannot be read: "):
        read_object(file)


def test_a_folder_a_dangling_link_and_a_huge_file_are_told_too(tmp_path, monkeypatch) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "huge").write_text("{}" + " " * 99)
    monkeypatch.setattr("vlbench.files.LARGEST_JSON", 100)
    for file in (tmp_path, tmp_path / "link", tmp_path / "huge"):
        with pytest.raises(DataError, match=f"{file}: cannot be read: "):
            read_object(file)
