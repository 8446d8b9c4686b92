"""What the site reads of a run, the pictures it copies, and the folder it writes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.leaderboard.builders import image_text
from tests.leaderboard.site.site_builders import pictures, spec
from vlbench.cards.schema import Splits
from vlbench.data.mini.write import NAMES, write_mini
from vlbench.data.readers import load_reader
from vlbench.errors import UsageError
from vlbench.files import temporary_beside
from vlbench.leaderboard.site import MARKER, SiteFolder
from vlbench.leaderboard.site.media import Pictures
from vlbench.leaderboard.site.pages import page_name
from vlbench.leaderboard.site.run_files import (
    Prediction,
    command,
    read_references,
)
from vlbench.runs.spec import RunSpec

ROWS = image_text("lora", 1, 2, 3, 4, seed=2, edition="mini")
SPLITS = {"train": ["train"], "val": ["val"], "test": ["testdev"]}
SPEC = RunSpec.model_validate({k: v for k, v in spec(ROWS).items() if k not in ("key", "schema")})
CARD = SPEC.tasks[1].model_copy(update={"splits": {"mini": Splits(**SPLITS)}})
MINI = SPEC.model_copy(update={"edition": "mini"})
CLIPS = CARD.model_copy(update={"reader": "tvc", "visual": "video"})


@pytest.mark.parametrize(
    ("text", "references"),
    [
        (json.dumps([{"answer": "no", "confidence": 1}] * 3 + [{"answer": "y"}]), "no 3, y 1"),
        ('"red"', "red 1"),
        ('["dog", "cat"]', "dog 1, cat 1"),
        ("", ""),
        *((text, f"{text} 1") for text in ("no JSON", "[[1]]", '{"label": 1}')),
    ],
)
def test_references_are_counted_and_any_other_json_stays_as_it_is(
    text: str, references: str
) -> None:
    assert ", ".join(f"{answer} {n}" for answer, n in read_references(text)) == references


def test_the_command_repeats_the_run_and_is_quoted() -> None:
    plain = SPEC.model_copy(update={"edition": "mini"})
    assert command(plain) == (
        "vlbench run --method lora --tasks image-text --seeds 2 --backbone mini-bart --edition mini"
    )
    changes = {"settings": ("train.epochs=1", "params.x='a b'; rm -rf /"), "root": "/home/me/data"}
    changes |= {"limit": 64, "encoder": "clip-rn50", "init": "old one.safetensors"}
    words = command(SPEC.model_copy(update=changes))
    assert "--limit 64 --encoder clip-rn50 --init 'old one.safetensors' --root DIR" in words
    assert "--set train.epochs=1 --set 'params.x=" in words
    assert "/home/me" not in words
    assert command(None) == ""


def shown(*images: str, **others: Any) -> Prediction:
    return Prediction("e1", "", images, "What?", "", (), 0.0)._replace(**others)


def full(root: str) -> RunSpec:
    return SPEC.model_copy(update={"root": root})


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
    assert len(copies.of(spec, CARD, shown("p1", "p2"))) == 2
    for absent in ("absent", "../images/p1", "/etc/x", ""):
        assert copies.of(spec, CARD, shown("p1", absent)) == []


def test_a_clip_is_a_strip_of_some_frames(tmp_path: Path, copies: Pictures) -> None:
    frames = tmp_path / "data" / "video" / "frames" / "tv" / "clip_01"
    frames.mkdir(parents=True)
    for number in range(20):
        Image.new("RGB", (64, 64), (12 * number, 0, 0)).save(frames / f"{number}.png")
    [copy] = copies.of(full(str(tmp_path / "data")), CLIPS, shown("clip_01"))
    assert (copy.alt, copy.width) == ("Frames of clip clip_01", 6 * 66 - 2)
    with Image.open(tmp_path / "site" / copy.src) as image:
        reds = [image.convert("RGB").getpixel((66 * n + 30, 30))[0] for n in range(6)]
    assert reds == sorted(reds) and reds[0] < 40 and reds[-1] > 190


def test_results_name_no_code_to_import_and_no_root_no_pictures(
    tmp_path: Path, copies: Pictures
) -> None:
    spec = full(pictures(tmp_path / "data"))
    for reader in ("os:system", "somebody.elses:Reader", "", "nothing"):
        card = CARD.model_copy(update={"reader": reader})
        assert copies.of(spec, card, shown("p1")) == []
    assert copies.of(full(""), CARD, shown("p1")) == []
    assert copies.of(full(str(tmp_path / "gone")), CARD, shown("p1")) == []


def test_pictures_of_the_mini_edition_are_those_of_the_same_example(
    tmp_path: Path, copies: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path))
    few = {"train": 2, "val": 2, "test": 3}
    write_mini(tmp_path / NAMES["image"], 0, {"coco": few, "gqa": few, "nlvr2": few})
    generated = load_reader("gqa", tmp_path / NAMES["image"]).read("testdev")[0]
    right = shown(*generated.images, id=generated.id, text=generated.text)
    assert len(copies.of(MINI, CARD, right)) == 1
    assert copies.of(MINI, CARD, right._replace(text="of another world")) == []


def write(out: Path, *names: str) -> None:
    folder = SiteFolder(out)
    for name in names:
        folder.write(name, "text")
    folder.finish()


def files(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}


def test_a_site_goes_to_a_new_or_empty_folder_and_no_other(tmp_path: Path) -> None:
    for name in ("", "deep/site"):
        (tmp_path / "a").mkdir(exist_ok=True)
        write(tmp_path / "a" / name, "index.html", "methods/a.html")
        assert {MARKER, "index.html", "methods/a.html"} <= files(tmp_path / "a" / name)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="no site of vlbench"):
        write(tmp_path / "mine", "index.html")
    assert files(tmp_path / "mine") == {"thesis.tex"}
    with pytest.raises(UsageError, match="Cannot be written: Not a directory"):
        write(tmp_path / "mine" / "thesis.tex" / "site", "index.html")


def test_pages_that_are_gone_are_removed_and_what_the_user_added_stays(tmp_path: Path) -> None:
    SiteFolder(tmp_path).write("methods/gone.html", "text")  # killed before it finished
    write(tmp_path, "index.html", "methods/a.html", "methods/b.html")
    (tmp_path / "CNAME").write_text("example.org")
    (tmp_path / "methods" / "mine.html").write_text("mine")
    write(tmp_path, "index.html", "methods/b.html")
    kept = {MARKER, "index.html", "methods/b.html", "methods/mine.html", "CNAME"}
    assert files(tmp_path) == kept


@pytest.mark.parametrize("name", ["../victim", "{}/victim", "methods/../../victim"])
def test_a_marker_that_names_files_elsewhere_removes_nothing_there(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "victim").write_text("mine")
    out = tmp_path / "site"
    write(out, "index.html", "methods/a.html")
    (out / MARKER).write_text(f"{name.format(tmp_path)}\n")
    write(out, "index.html")
    assert (tmp_path / "victim").read_text() == "mine"


def test_what_a_killed_writer_left_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    for name in (MARKER, "methods/a.html"):  # killed before its marker: the folder is taken
        own, dead = (temporary_beside(tmp_path / name) for _ in range(2))
        own.touch()
        dead.touch()
        os.utime(dead, (0, 0))
        write(tmp_path, "methods/a.html")
        assert own.exists() and not dead.exists()


HOSTILE = [
    *("../../x", "..", "/etc/passwd", "a/b", "a\\b", "C:\\x", "x\0y", "LoRA", "lora", "löra", ""),
    *("<script>", "javascript:alert(1)", "日本", "日本語", "x" * 500, "x" * 501, " x", "x "),
]


def test_names_of_pages_are_safe_letters_and_no_two_are_the_same() -> None:
    assert [page_name(name) for name in ("shared-adapter", "vqav2")] == ["shared-adapter", "vqav2"]
    names = [page_name(name) for name in HOSTILE]
    assert len(set(names)) == len(HOSTILE)
    for name in names:
        assert 0 < len(name) < 80 and set(name) <= {*"abcdefghijklmnopqrstuvwxyz0123456789-"}
