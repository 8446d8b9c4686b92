"""Where what a user asks for is written to."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from vlbench.errors import MissingError, UsageError
from vlbench.files import Content, check_out, is_stream, write_out

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
