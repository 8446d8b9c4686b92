"""Copies of pictures and clips."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.leaderboard.site.site_builders import pictures
from vlbench.data.mini.write import NAMES, Sizes, write_mini
from vlbench.leaderboard.site.media import Pictures
from vlbench.leaderboard.site.run_files import Prediction
from vlbench.leaderboard.site.write import SiteFolder

CARD = {"name": "gqa", "reader": "gqa", "splits": {"mini": {"test": ["testdev"]}}}
CLIPS = {"name": "tvc", "reader": "tvc", "visual": "video"}


def shown(*images: str, **others) -> Prediction:
    made = {
        "id": "e1",
        "family": "",
        "text": "What?",
        "prediction": "",
        "references": (),
        "score": 0.0,
    }
    return Prediction(**made | others, images=images)


def full(root: str) -> dict[str, str]:
    return {"edition": "full", "root": root}


@pytest.fixture
def copies(tmp_path: Path) -> Pictures:
    return Pictures(SiteFolder(tmp_path / "site").write)


def test_a_picture_is_copied_once_under_the_hash_of_what_it_shows(
    tmp_path: Path, copies: Pictures
) -> None:
    spec = full(pictures(tmp_path / "data"))
    [first], [again] = copies.of(spec, CARD, shown("p1")), copies.of(spec, CARD, shown("p1"))
    assert first == again
    assert (first.width, first.height) == (64, 48)
    assert [path.name for path in (tmp_path / "site" / "images").iterdir()] == [first.src[7:]]
    with Image.open(tmp_path / "site" / first.src) as image:
        assert image.size == (64, 48)


def test_a_large_picture_is_made_small(tmp_path: Path, copies: Pictures) -> None:
    folder = tmp_path / "data" / "GQA" / "images"
    folder.mkdir(parents=True)
    Image.effect_noise((1200, 900), 80).convert("RGB").save(folder / "big.jpg")
    [found] = copies.of(full(str(tmp_path / "data")), CARD, shown("big"))
    assert (found.width, found.height) == (224, 168)
    assert (tmp_path / "site" / found.src).stat().st_size < 40_000


def test_a_clip_is_a_strip_of_some_frames(tmp_path: Path, copies: Pictures) -> None:
    frames = tmp_path / "data" / "video" / "frames" / "tv" / "clip_01"
    frames.mkdir(parents=True)
    for number in range(20):
        Image.new("RGB", (64, 64), (12 * number, 0, 0)).save(frames / f"{number}.png")
    [found] = copies.of(full(str(tmp_path / "data")), CLIPS, shown("clip_01"))
    assert found.alt == "Frames of clip clip_01"
    assert found.width == 6 * 66 - 2
    with Image.open(tmp_path / "site" / found.src) as image:
        reds = [image.convert("RGB").getpixel((66 * n + 30, 30))[0] for n in range(6)]
    assert reds == sorted(reds) and reds[0] < 40 and reds[-1] > 190


@pytest.mark.parametrize("image", ["absent", "../images/p1", "/etc/x", ""])
def test_what_is_not_there_or_leads_elsewhere_has_no_picture(
    tmp_path: Path, copies: Pictures, image: str
) -> None:
    assert copies.of(full(pictures(tmp_path / "data")), CARD, shown(image)) == []


def test_of_two_pictures_both_are_there_or_none(tmp_path: Path, copies: Pictures) -> None:
    spec = full(pictures(tmp_path / "data"))
    assert len(copies.of(spec, CARD, shown("p1", "p2"))) == 2
    assert copies.of(spec, CARD, shown("p1", "absent")) == []


@pytest.mark.parametrize("reader", ["os:system", "somebody.elses:Reader", "", "nothing"])
def test_results_cannot_name_code_to_import(tmp_path: Path, copies: Pictures, reader: str) -> None:
    spec = full(pictures(tmp_path / "data"))
    assert copies.of(spec, CARD | {"reader": reader}, shown("p1")) == []


def test_the_full_edition_without_its_root_has_no_pictures(
    tmp_path: Path, copies: Pictures
) -> None:
    assert copies.of(full(""), CARD, shown("p1")) == []
    assert copies.of(full(str(tmp_path / "gone")), CARD, shown("p1")) == []


def test_pictures_of_the_mini_edition_are_those_of_the_same_example(
    tmp_path: Path, copies: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path))
    few = {"train": 2, "val": 2, "test": 3}
    write_mini(tmp_path / NAMES["image"], 0, Sizes(few, few, few))
    from vlbench.data.readers import load_reader

    example = load_reader("gqa", tmp_path / NAMES["image"]).read("testdev")[0]
    right = shown(*example.images, id=example.id, text=example.text)
    assert len(copies.of({"edition": "mini"}, CARD, right)) == 1
    assert copies.of({"edition": "mini"}, CARD, right._replace(text="of another world")) == []


def test_a_mini_edition_that_cannot_be_made_is_told_and_leaves_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "file"))
    told: list[str] = []
    copies = Pictures(SiteFolder(tmp_path / "site").write, told.append)
    for _ in range(2):
        assert copies.of({"edition": "mini"}, CARD, shown("p1")) == []
    [line] = told
    assert "no pictures of the mini edition" in line
