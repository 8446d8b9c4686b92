from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.data.conftest import picture
from vlbench.data import hashes
from vlbench.data.example import Example
from vlbench.data.images import clips_below, find_pictures, open_clip, open_image, pictures_below
from vlbench.data.pictures import Pictures
from vlbench.data.readers.base import Reader, find_image
from vlbench.data.table import ExampleTable, read_examples, write_examples
from vlbench.errors import DataError, MissingError


def test_every_mode_becomes_rgb(tmp_path) -> None:
    image = Image.new("RGB", (5, 4), (200, 200, 200))
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "I", "F"):
        via = image.convert("L") if mode in ("I", "F", "LA") else image
        via.convert(mode).save(tmp_path / "picture.tiff")
        opened = open_image(tmp_path / "picture.tiff")
        assert opened.mode == "RGB" and opened.size == (5, 4)


def test_transparent_palettes_sixteen_bit_grey_and_wrong_suffixes_open_as_they_look(
    tmp_path,
) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "p.png", transparency=b"\x00\xff")
    assert np.asarray(open_image(tmp_path / "p.png")).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    Image.fromarray(np.array([[0, 256 * 100, 65535]], dtype=np.uint16)).save(tmp_path / "g.png")
    assert np.asarray(open_image(tmp_path / "g.png"))[0, :, 0].tolist() == [0, 100, 255]
    Image.new("RGB", (9, 9), (255, 0, 0)).save(tmp_path / "a.png", format="JPEG")
    assert open_image(tmp_path / "a.png").getpixel((4, 4))[0] > 250


@pytest.mark.parametrize(("kind", "bytes_off"), [("png", 400), ("png", 20), ("jpg", 400)])
def test_a_truncated_picture_is_refused_even_where_pil_is_set_to_be_lenient(
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


def test_what_is_absent_damaged_or_no_picture_is_named_once(tmp_path) -> None:
    path = tmp_path / "text.png"
    with pytest.raises(DataError, match=r"text\.png: not a readable picture: .*No such file"):
        open_image(path)
    path.write_text("not a picture")
    with pytest.raises(DataError) as caught:
        open_image(path)
    assert str(caught.value) == f"{path}: not a readable picture: of no known format"
    Image.new("RGB", (20, 20)).save(path)
    path.write_bytes(path.read_bytes()[:45] + b"xxxxx" + path.read_bytes()[50:])
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
        picture(tmp_path / "real" / name)
    (tmp_path / "real" / "notes.txt").touch()
    names = {"b": "b.png", "A": "A.JPG", "c": "c.webp"}
    assert {image: p.name for image, p in pictures_below(tmp_path / "real").items()} == names
    (tmp_path / "images").mkdir()  # a linked folder is searched
    (tmp_path / "images" / "train").symlink_to(tmp_path / "real")
    assert {image: p.name for image, p in pictures_below(tmp_path / "images").items()} == names


def test_clips_are_the_folders_that_hold_pictures_and_no_name_stands_twice(tmp_path) -> None:
    for name in ("tv/s01/1.png", "tv/s01/2.png", "yc2/-x_0/1.jpg"):
        picture(tmp_path / name)
    assert sorted(clips_below(tmp_path)) == ["-x_0", "s01"]
    picture(tmp_path / "how2/s01/3.png")
    with pytest.raises(DataError, match="both would be 's01'"):
        clips_below(tmp_path)
    with pytest.raises(DataError, match=r"yc2/-x_0/1\.jpg and .*tv/s01/1\.png: both would be '1'"):
        pictures_below(tmp_path)
    assert sorted(clips_below(tmp_path, by_path=True)) == ["how2/s01", "tv/s01", "yc2/-x_0"]


def test_frames_are_read_in_the_order_of_time_and_numbers_count_as_numbers(tmp_path) -> None:
    for number in (10, 9, 1, 2):
        picture(tmp_path / f"frame{number}.png", number)
    (tmp_path / "._1.png").write_bytes(b"what some file systems leave")
    (tmp_path / "note.txt").write_text("no frame")
    assert [frame.getpixel((0, 0))[0] for frame in open_clip(tmp_path)] == [1, 2, 9, 10]


def test_no_pictures_and_no_folder_are_told(tmp_path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        for below in (pictures_below, clips_below):
            with pytest.raises(MissingError, match="no pictures below it; they end in"):
                below(folder)
        with pytest.raises(DataError, match=r"no folder of frames: \.bmp or "):
            open_clip(folder)


def test_contents_are_read_once_while_the_files_stay(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {f"{n}": tmp_path / f"{n}.png" for n in range(3)}
    for number, path in enumerate(paths.values()):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(path)
    read: list[Path] = []
    original = hashes._hash
    monkeypatch.setattr(hashes, "_hash", lambda path: read.append(path) or original(path))
    pictures = Pictures(paths, 1)
    first = pictures.fingerprint(paths)
    assert pictures.fingerprint(paths) == first and read == [*paths.values()]
    Image.new("RGB", (4, 5)).save(paths["1"])
    assert pictures.fingerprint(paths) != first


def test_pictures_of_a_table_are_found_without_decoding_its_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Places(Reader):
        def image_path(self, image_id: str) -> Path:
            return find_image([self.root], image_id)

    monkeypatch.setattr(Places, "__abstractmethods__", frozenset())
    (tmp_path / "a.png").touch()
    examples = [
        Example(name, "?", images, {}) for name, images in (("1", ("a",)), ("2", ("b", "c")))
    ]
    write_examples(tmp_path / "t.arrow", examples)
    given = read_examples(tmp_path / "t.arrow")
    places = Places(tmp_path)
    paths, faults = find_pictures(places, given)
    assert paths == {"a": tmp_path / "a.png"}
    assert [text.rpartition("wanted by ")[2] for text in faults.texts] == ["example 2)"] * 2
    monkeypatch.setattr(ExampleTable, "_examples", None)
    paths, faults = find_pictures(places, given[:1])
    assert paths == {"a": tmp_path / "a.png"} and not faults.texts
