from __future__ import annotations

import errno
from pathlib import Path

import pytest

from vlbench.data.fingerprint import REMEMBERED_FROM, file_hash
from vlbench.data.mini.edition import NAMES, mini_root
from vlbench.errors import MissingError
from vlbench.files import cache_folder


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
    monkeypatch.setattr("vlbench.data.mini.edition.write_mini", full)
    for write in (lambda: file_hash(big), mini_root):
        with pytest.raises(MissingError, match=r"No space left.* VLBENCH_CACHE names"):
            write()
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


def test_a_file_in_the_place_of_the_mini_edition_is_told(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path))
    (tmp_path / NAMES["image"]).write_text("")
    with pytest.raises(MissingError, match=rf"{NAMES['image']}: a file is there.* VLBENCH_CACHE"):
        mini_root()
