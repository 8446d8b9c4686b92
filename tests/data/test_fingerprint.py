from __future__ import annotations

import os

import pytest

from vlbench.data import fingerprint as module
from vlbench.data.fingerprint import file_hash, fingerprint
from vlbench.errors import MissingError


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / "x" / name for name in ("a.json", "sub/b.json")]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    return paths


def test_the_order_and_the_place_of_the_files_do_not_matter(files, tmp_path) -> None:
    before = fingerprint(files)
    assert before == fingerprint([files[1], files[0], files[0]])
    (tmp_path / "x").rename(tmp_path / "y")
    assert before == fingerprint(
        [tmp_path / "y" / path.relative_to(tmp_path / "x") for path in files]
    )


def test_contents_and_names_matter(files) -> None:
    before = fingerprint(files)
    files[0].write_text("b.json")
    assert fingerprint(files) != before
    files[0].write_text("a.json")
    assert fingerprint(files) == before
    assert fingerprint([files[0].rename(files[0].with_name("c.json")), files[1]]) != before


def test_names_may_be_relative_to_a_root(files, tmp_path) -> None:
    assert fingerprint(files, tmp_path) != fingerprint(files, tmp_path / "x") == fingerprint(files)


def test_big_files_are_hashed_once(files, monkeypatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_FROM", 0)
    before = file_hash(files[0])
    monkeypatch.setattr(module, "_hash", lambda path: "computed")
    assert file_hash(files[0]) == before
    os.utime(files[0], ns=(1, 1))
    assert file_hash(files[0]) == "computed"


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(MissingError, match=r"none\.json: no such file"):
        fingerprint([tmp_path / "none.json"])
