from __future__ import annotations

import pytest

from tests.data.conftest import picture
from vlbench.data.images import clips_below, pictures_below
from vlbench.errors import DataError, MissingError


def test_pictures_are_found_to_the_end_whatever_the_case_of_their_suffix(tmp_path) -> None:
    for name in ("b.png", "sub/deep/A.JPG", "sub/c.webp", ".hidden.png", ".d/x.png"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    assert {name: path.name for name, path in pictures_below(tmp_path).items()} == {
        "b": "b.png",
        "A": "A.JPG",
        "c": "c.webp",
    }


def test_a_linked_folder_is_searched_and_a_circle_ends(tmp_path) -> None:
    picture(tmp_path / "real/a.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "train").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "up").symlink_to(tmp_path / "images")
    assert list(pictures_below(tmp_path / "images")) == ["a"]


def test_two_pictures_of_one_name_are_refused_with_both_paths(tmp_path) -> None:
    picture(tmp_path / "x/a.png")
    picture(tmp_path / "y/a.jpg")
    with pytest.raises(DataError, match=r"y/a\.jpg and .*x/a\.png: both would be 'a'"):
        pictures_below(tmp_path)


def test_clips_are_the_folders_that_hold_pictures(tmp_path) -> None:
    for name in ("tv/s01/1.png", "tv/s01/2.png", "yc2/-x_0/1.jpg"):
        picture(tmp_path / name)
    assert sorted(clips_below(tmp_path)) == ["-x_0", "s01"]
    picture(tmp_path / "how2/s01/1.png")
    with pytest.raises(DataError, match="both would be 's01'"):
        clips_below(tmp_path)


def test_no_pictures_and_no_folder_are_told(tmp_path) -> None:
    with pytest.raises(MissingError, match="no pictures below it; they end in"):
        pictures_below(tmp_path)
    with pytest.raises(MissingError, match="no such folder"):
        clips_below(tmp_path / "none")
