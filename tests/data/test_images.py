from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFile

from vlbench.data.images import open_image
from vlbench.errors import DataError


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
