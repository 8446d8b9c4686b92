from __future__ import annotations

import errno
import os
import stat
import subprocess
from pathlib import Path

import pytest

from vlbench.data.mini.write import NAMES, mini_root
from vlbench.data.table import REMEMBERED_FROM, file_hash
from vlbench.errors import DataError, MissingError, UsageError
from vlbench.files import (
    Content,
    cache_folder,
    check_out,
    is_stream,
    read_object,
    remove_dead_beside,
    temporary_beside,
    write_atomically,
    write_out,
)


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


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own" and cache_folder().is_dir()
    monkeypatch.setenv("VLBENCH_CACHE", "")
    assert cache_folder() == tmp_path / "xdg" / "vlbench"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert cache_folder() == tmp_path / "home" / ".cache" / "vlbench"


def test_a_cache_that_cannot_be_made_is_told(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(MissingError, match="VLBENCH_CACHE names another place"):
        cache_folder()


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_every_writer_names_the_cache_that_is_full(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "cache"))
    big = tmp_path / "big"
    big.write_bytes(bytes(REMEMBERED_FROM))
    monkeypatch.setattr("vlbench.files.flush", full)
    monkeypatch.setattr("vlbench.data.mini.write.write_mini", full)
    for write in (lambda: file_hash(big), mini_root):
        with pytest.raises(MissingError, match=r"No space left.* VLBENCH_CACHE names"):
            write()
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


def test_a_file_in_the_place_of_the_mini_edition_is_told(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path))
    (tmp_path / NAMES["image"]).write_text("")
    with pytest.raises(MissingError, match=rf"{NAMES['image']}: a file is there.* VLBENCH_CACHE"):
        mini_root()


CONTENTS = ["text", b"text", lambda path: path.write_text("text")]
DESCRIPTORS = Path("/proc/self/fd")


def opened(path: Path, flags: int) -> int:
    """A pipe's end that waits for nobody."""
    return os.open(path, flags | os.O_NONBLOCK)


@pytest.mark.parametrize("content", CONTENTS, ids=["str", "bytes", "call"])
def test_a_pipe_gets_what_is_written_and_stays_a_pipe(tmp_path: Path, content: Content) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = opened(pipe, os.O_RDONLY)
    check_out(pipe)
    write_out(pipe, content)
    assert os.read(reader, 100) == b"text"
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]
    os.close(reader)


def test_a_pipe_behind_a_link_gets_it_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    reader = opened(tmp_path / "pipe", os.O_RDONLY)
    write_out(tmp_path / "link", "text")
    assert os.read(reader, 100) == b"text"
    assert (tmp_path / "link").is_symlink() and (tmp_path / "link").is_fifo()
    os.close(reader)


@pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="no such devices here")
def test_a_device_is_written_to_and_never_replaced() -> None:
    assert is_stream(Path("/dev/null"))


@pytest.mark.parametrize("is_there", [True, False], ids=["there", "not there yet"])
def test_behind_a_link_the_target_is_written_and_the_link_stays(
    tmp_path: Path, is_there: bool
) -> None:
    target, link = tmp_path / "far" / "report.md", tmp_path / "latest.md"
    target.parent.mkdir()
    if is_there:
        target.write_text("old")
    link.symlink_to("far/report.md")
    check_out(link)
    write_out(link, "new")
    assert os.readlink(link) == "far/report.md"
    assert not target.is_symlink() and target.read_text() == "new"
    assert [each.name for each in target.parent.iterdir()] == ["report.md"]


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="no such folder here")
def test_an_open_file_keeps_its_beginning_when_it_is_written_to_by_its_number(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    with log.open("a") as file:
        (tmp_path / "stdout").symlink_to(DESCRIPTORS / str(file.fileno()))  # as /dev/stdout is
        write_out(tmp_path / "stdout", "text\n")
    assert log.read_text() == "before\ntext\n"


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for place in (file / "x.csv", file / "deeper" / "x.csv"):
        for act in (check_out, lambda path: write_out(path, "text")):
            with pytest.raises(UsageError) as told:
                act(place)
            assert str(told.value) == (
                f"--out {place}: Cannot be written: {file} is a file, no folder. "
                "Name another place: --out PATH"
            )
    assert file.read_text() == "mine"


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a folder is there\. Name another place: --out PATH"):
        check_out(tmp_path)
    with pytest.raises(UsageError, match="Is a directory"):
        write_out(tmp_path, "text")


def test_links_in_a_circle_are_told(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for act in (check_out, lambda path: write_out(path, "text")):
        with pytest.raises(UsageError, match="Cannot be written: Too many levels"):
            act(tmp_path / "a")


def test_a_folder_that_takes_no_files_is_told_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda place, mode: False)  # as root may write anywhere
    with pytest.raises(UsageError, match=f"no permission to write to {tmp_path}"):
        check_out(tmp_path / "new" / "x.csv", "--per-example")


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.EROFS, UsageError, "Name another place: --per-example PATH"),
        (errno.ENOSPC, MissingError, "Make room, or name a place on another disk: --per-exam"),
    ],
    ids=["read-only", "full"],
)
def test_what_the_system_refuses_is_told_with_what_to_type(
    tmp_path: Path, number: int, kind: type[UsageError | MissingError], advice: str
) -> None:
    def fail(beside: Path) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(kind) as told:
        write_out(tmp_path / "x.csv", fail, "--per-example")
    place = tmp_path / "x.csv"
    start = f"--per-example {place}: Cannot be written: {os.strerror(number)}. "
    assert str(told.value).startswith(start + advice)
    assert type(told.value) is kind
    assert not list(tmp_path.iterdir())
