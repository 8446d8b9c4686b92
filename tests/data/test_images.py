from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.data.conftest import picture
from vlbench.data.images import clips_below, open_image, pictures_below
from vlbench.errors import DataError, MissingError


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I", "F"])
def test_every_mode_becomes_rgb(mode, tmp_path) -> None:
    path = tmp_path / "picture.tiff"
    image = Image.new("RGB", (5, 4), (200, 200, 200))
    via = image.convert("L") if mode in ("I", "F", "LA") else image
    via.convert(mode).save(path)
    opened = open_image(path)
    assert opened.mode == "RGB" and opened.size == (5, 4)


def test_a_palette_with_transparency_opens_without_a_warning(tmp_path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "p.png", transparency=b"\x00\xff")
    assert np.asarray(open_image(tmp_path / "p.png")).tolist() == [[[10, 20, 30], [40, 50, 60]]]


def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path) -> None:
    Image.fromarray(np.array([[0, 256 * 100, 65535]], dtype=np.uint16)).save(tmp_path / "g.png")
    assert np.asarray(open_image(tmp_path / "g.png"))[0, :, 0].tolist() == [0, 100, 255]


def test_a_jpeg_named_png_opens(tmp_path) -> None:
    Image.new("RGB", (9, 9), (255, 0, 0)).save(tmp_path / "a.png", format="JPEG")
    assert open_image(tmp_path / "a.png").getpixel((4, 4))[0] > 250


@pytest.mark.parametrize(("kind", "bytes_off"), [("png", 400), ("png", 20), ("jpg", 400)])
def test_a_truncated_picture_is_refused_even_where_pil_was_told_to_be_lenient(
    kind, bytes_off, tmp_path, monkeypatch
) -> None:
    path = tmp_path / f"cut.{kind}"
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-bytes_off])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(DataError, match=f"cut.{kind}: not a readable picture: .*truncated"):
        open_image(path)
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_a_file_that_is_no_picture_is_named_once(tmp_path) -> None:
    path = tmp_path / "text.png"
    path.write_text("not a picture")
    with pytest.raises(DataError) as caught:
        open_image(path)
    assert str(caught.value) == f"{path}: not a readable picture: of no known format"


def test_an_absent_picture_is_named(tmp_path) -> None:
    with pytest.raises(DataError, match=r"none\.png: no such picture"):
        open_image(tmp_path / "none.png")


def test_a_damaged_png_is_refused(tmp_path) -> None:
    path = tmp_path / "d.png"
    Image.new("RGB", (20, 20)).save(path)
    damaged = bytearray(path.read_bytes())
    damaged[45:50] = b"xxxxx"
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="not a readable picture"):
        open_image(path)


def test_a_large_picture_opens_without_a_warning_and_an_absurd_one_is_refused(
    tmp_path, monkeypatch
) -> None:
    Image.new("RGB", (30, 10)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    assert open_image(tmp_path / "large.png").size == (30, 10)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"large\.png: not a readable picture: Image size"):
        open_image(tmp_path / "large.png")


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
