from __future__ import annotations

from pathlib import Path

import pytest

from vlbench.cache import cache_folder
from vlbench.errors import MissingError


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
