"""Files that appear whole or not at all, `--out`, the cache folder, packed data."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vlbench.data.example import Faults
from vlbench.data.mini.write import NAMES, mini_root
from vlbench.data.readers.base import read_lines, read_list
from vlbench.errors import DataError, MissingError, UsageError
from vlbench.files import (
    Content,
    cache_folder,
    check_out,
    open_data,
    read_object,
    remove_forgotten,
    temporary_beside,
    write_atomically,
    write_out,
)


@pytest.mark.parametrize(
    "content", ["text", b"text", lambda path: path.write_text("text")], ids=["str", "bytes", "call"]
)
def test_a_file_is_replaced_whole(content: Content, tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    write_atomically(path, "one")
    write_atomically(path, content)
    assert path.read_bytes() == b"text"
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_atomically(path, "old")

    def fail(beside: Path) -> None:
        beside.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_processes_left_is_removed_after_a_day(tmp_path: Path) -> None:
    file, folder, living = (temporary_beside(tmp_path / "import") for _ in range(3))
    (folder / "runs").mkdir(parents=True)
    for path in (file, living, tmp_path / ".import.mine.tmp"):
        path.touch()
    for path in (file, folder, tmp_path / ".import.mine.tmp"):
        os.utime(path, (0, 0))
    remove_forgotten(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {living.name, ".import.mine.tmp"}


def test_what_is_no_small_json_object_is_told_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "status.json"
    deep = (b"[" * 100_000, b'{"a": ' * 100_000)
    for content in (b"[1]", b"7", b"{", b"", *deep, b"\xff", b'{"a": "\\ud800"}'):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"status\.json: cannot be read: "):
            read_object(file)
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "huge").write_text("{}" + " " * 99)
    monkeypatch.setattr("vlbench.files.LARGEST_JSON", 100)
    for path in (tmp_path, tmp_path / "link", tmp_path / "huge"):
        with pytest.raises(DataError, match=f"{path}: cannot be read: "):
            read_object(path)


# the cache


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own" and cache_folder().is_dir()
    monkeypatch.setenv("VLBENCH_CACHE", "")
    assert cache_folder() == tmp_path / "xdg" / "vlbench"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert cache_folder() == tmp_path / "home" / ".cache" / "vlbench"


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_every_writer_names_the_cache_that_cannot_be_written(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "cache"))
    big = tmp_path / "big"
    big.touch()
    monkeypatch.setattr("vlbench.files.flush", full)
    monkeypatch.setattr("vlbench.data.mini.write.write_mini", full)
    with pytest.raises(MissingError, match=r"No space left.* VLBENCH_CACHE names"):
        mini_root()
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path))
    (tmp_path / NAMES["image"]).write_text("")
    with pytest.raises(MissingError, match=rf"{NAMES['image']}: a file is there.* VLBENCH_CACHE"):
        mini_root()
    monkeypatch.setenv("VLBENCH_CACHE", str(big / "cache"))
    with pytest.raises(MissingError, match="VLBENCH_CACHE names another place"):
        cache_folder()


# --out


def test_behind_a_link_the_target_is_written_and_the_link_stays(tmp_path: Path) -> None:
    target, link = tmp_path / "far" / "report.md", tmp_path / "latest.md"
    target.parent.mkdir()
    link.symlink_to("far/report.md")
    for text in ("made", "replaced"):
        check_out(link)
        write_out(link, text)
        assert os.readlink(link) == "far/report.md"
        assert not target.is_symlink() and target.read_text() == text
        assert list(target.parent.iterdir()) == [target]


def test_places_where_no_file_can_be_are_refused(tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (
        (file / "x.csv", f"{file} is a file, no folder"),
        (file / "deeper" / "x.csv", f"{file} is a file, no folder"),
        (tmp_path, "it is no regular file"),
        (tmp_path / "pipe", "it is no regular file"),
        (Path("/dev/null"), "it is no regular file"),
    ):
        message = rf"--out {path}: Cannot be written: {reason}\. Name another place: --out PATH"
        for act in (check_out, lambda path: write_out(path, "text")):
            with pytest.raises(UsageError, match=message):
                act(path)
    assert file.read_text() == "mine"
    monkeypatch.setattr(os, "access", lambda place, mode: False)  # as root may write anywhere
    with pytest.raises(UsageError, match=f"no permission to write to {tmp_path}"):
        check_out(tmp_path / "new" / "x.csv", "--per-example")


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.EROFS, UsageError, "Name another place: --per-example PATH"),
        (errno.ENOSPC, MissingError, "Make room, or name another disk."),
    ],
    ids=["read-only", "full"],
)
def test_what_the_system_refuses_is_told_with_what_to_do(
    tmp_path: Path, number: int, kind: type[UsageError | MissingError], advice: str
) -> None:
    def fail(beside: Path) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(kind) as caught:
        write_out(tmp_path / "x.csv", fail, "--per-example")
    start = f"--per-example {tmp_path / 'x.csv'}: Cannot be written: {os.strerror(number)}. "
    assert str(caught.value) == start + advice
    assert not list(tmp_path.iterdir())


# packed data

TEXT = b'[{"id": 1},\n{"id": 2}]\n'
READERS: dict[str, Callable[[Path], object]] = {
    "list": lambda path: list(read_list(path)),
    "lines": lambda path: list(read_lines(path, Faults())),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("text", [TEXT, b"", b"[1]"])
def test_what_gzip_packed_is_read_like_the_file_itself(
    tmp_path: Path, reader: str, text: bytes
) -> None:
    plain, packed = tmp_path / "a.json", tmp_path / "b.json"
    plain.write_bytes(text)
    packed.write_bytes(gzip.compress(text))
    results = []
    for path in (plain, packed):
        try:
            results.append(READERS[reader](path))
        except DataError as error:
            results.append(str(error).replace("b.json", "a.json"))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("content", "packing"),
    [
        (b"PK\x03\x04", "ZIP"),
        (bz2.compress(TEXT), "bzip2"),
        (lzma.compress(TEXT), "xz"),
        (b"\x28\xb5\x2f\xfd" + TEXT, "Zstandard"),
        (gzip.compress(bz2.compress(TEXT), mtime=0), "bzip2"),
    ],
    ids=["zip", "bzip2", "xz", "zstandard", "bzip2-in-gzip"],
)
def test_another_packing_is_named(tmp_path: Path, content: bytes, packing: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    for read in READERS.values():
        with pytest.raises(DataError, match=rf"a\.json: is packed \({packing}\): unpack it"):
            read(path)


@pytest.mark.parametrize("damage", [lambda data: data[:-12], lambda data: data[:-6] + b"x" * 6])
def test_damaged_gzip_data_are_told(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(damage(gzip.compress(TEXT)))
    with pytest.raises(DataError, match=r"a\.json: damaged gzip data"), open_data(path) as file:
        file.read()
