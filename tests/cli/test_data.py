"""`vlbench data make-mini`, `check` and `extract-features`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import Result

from tests.cli.command import assert_refused, document, items, vlbench
from tests.data.conftest import picture
from tests.data.mini.builders import TINY, TINY_VIDEO
from tests.runs.builders import Bench
from vlbench.cards.load import all_tasks
from vlbench.data.mini import write
from vlbench.data.stores.published import open_store

TOY = "tests.data.toy_encoder:ToyEncoder"


def check(tasks: str, root: Path, *words: str) -> Result:
    return vlbench("data", "check", *(["--tasks", tasks] if tasks else []), "--root", root, *words)


def test_make_mini_writes_an_edition_and_leaves_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mini, video = write.write_mini, write.write_video
    monkeypatch.setattr(
        write, "write_mini", lambda folder, seed, progress: mini(folder, seed, TINY, progress)
    )
    monkeypatch.setattr(
        write,
        "write_video",
        lambda folder, seed, progress: video(folder, seed, TINY_VIDEO, progress),
    )
    out = tmp_path / "deep" / "mini"
    result = vlbench("data", "make-mini", "--out", out)
    assert (result.exit_code, result.stdout) == (0, f"{out}\n")
    assert (out / "mini.json").is_file()
    assert [path.name for path in out.parent.iterdir()] == ["mini"]
    assert check("image-text", out).exit_code == 0
    again = vlbench("data", "make-mini", "--out", out)
    assert_refused(again, 2, "not empty: name a new folder")
    assert vlbench("data", "make-mini", "--out", out / "mini.json").exit_code == 2
    assert vlbench("data", "make-mini", "--out", tmp_path / "x", "--seed", "-1").exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


def test_check_counts_examples_and_pictures(bench: Bench) -> None:
    result = check("nlvr2", bench.root, "--json")
    assert result.exit_code == 0
    first, *_ = items(result, "check")
    facts = {"task": "nlvr2", "split": "train", "examples": 24, "pictures": 24, "ready": True}
    none = {"published": None, "features": None, "majority": None}
    assert first == {**facts, **none, "problems": [], "remarks": []}
    head, *lines = check("nlvr2", bench.root).stdout.splitlines()
    assert head.split()[:3] == ["task", "split", "examples"] and head.split()[-1] == "ready"
    assert len(lines) == 3 and lines[0].split() == ["nlvr2", "train", "24", "-", "24", "-", "True"]


def test_check_goes_on_after_what_it_misses_and_exits_3(tmp_path: Path) -> None:
    result = check("nlvr2,gqa", tmp_path, "--edition", "full")
    assert result.exit_code == 3
    assert [tuple(line.split()[:2]) for line in result.stdout.splitlines()[1:]] == [
        *(("nlvr2", split) for split in ("train", "dev", "test1")),
        *(("gqa", split) for split in ("train", "val", "testdev")),
    ]
    assert result.stderr.count("published at https://") == 2
    assert "A run could not start with these data." in result.stderr
    result = check("", tmp_path, "--edition", "full", "--json")
    assert result.exit_code == 3
    tasks = {item["task"] for item in items(result)}
    assert tasks == {card.name for card in all_tasks() if "full" in card.splits}
    result = check("nlvr", tmp_path)  # its only edition
    assert result.exit_code == 3 and str(tmp_path / "nlvr") in result.stderr
    nowhere = tmp_path / "nowhere"
    assert "train_balanced_questions.json" in check("gqa", nowhere).stderr
    more = ("--features", str(nowhere), "--edition", "full")
    assert check("gqa", tmp_path, *more).exit_code == 3
    assert check("gqa", tmp_path, "--edition", "ful").exit_code == 2
    assert check("gqq", tmp_path).exit_code == 2


def test_a_file_that_several_splits_and_tasks_miss_is_told_once(tmp_path: Path) -> None:
    result = check("image-text", tmp_path, "--edition", "full")
    assert result.exit_code == 3
    lines = [line for line in result.stderr.splitlines() if ": no file " in line]
    files = [line.partition(": no file ")[2].split()[0] for line in lines]
    assert len(files) == len(set(files)) == 11
    [shared] = [line for line in lines if "dataset_coco.json" in line]
    assert "vqav2 train, vqav2 val, vqav2 test, coco train, coco val, coco test: no" in shared


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for number in range(5):
        picture(tmp_path / f"images/p{number}.png", number * 40)
    return tmp_path / "images"


def extract(images: Path, encoder: str, *words: str) -> Result:
    """Extract features of the pictures into the folder `s` beside them."""
    out = images.parent / "s"
    places = ("--images", images, "--out", out)
    return vlbench("data", "extract-features", "--encoder", encoder, *places, *words)


def test_the_store_is_written_and_named(images: Path) -> None:
    store = images.parent / "s"
    result = extract(images, TOY)
    assert (result.exit_code, result.stdout) == (0, f"{store}\n")
    assert "0 of 5 pictures" in result.stderr and "5 of 5 pictures" in result.stderr
    assert open_store(store).missing(["p0", "p4"]) == []
    store.rename(images.parent / "other")
    answer = document(extract(images, "mini", "--json", "--device", "cpu"), "extracted")
    facts = {"encoder": "mini", "kind": "pictures", "count": 5, "width": 128}
    assert answer == {"schema": "vlbench.extracted/1", "store": str(store), **facts}


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("mni", 2, "Did you mean 'mini'"),
        ("no.such:Thing", 2, "no module named 'no'"),
        ("mini --device 99", 2, "Known: auto, cpu"),
        ("clip-vit-b32 --weights none", 3, "--weights none: no such folder"),
        (f"{TOY} --kind pictures", 3, "p3.png: not a readable picture"),
    ],
)
def test_what_does_not_fit_is_told(images: Path, words: str, code: int, text: str) -> None:
    (images / "p3.png").write_bytes(b"none")
    assert_refused(extract(images, *words.split()), code, text)
