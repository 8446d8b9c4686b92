"""`vlbench data make-mini`, `check` and `extract-features`."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from tests.cli.command import document, items, vlbench
from tests.data.conftest import picture
from tests.data.mini.builders import TINY, TINY_VIDEO
from tests.runs.builders import Bench
from vlbench import cli as progress
from vlbench.cards.load import all_tasks
from vlbench.data.mini import edition, write, write_video
from vlbench.data.stores.published import open_store


def data(*words: str) -> Result:
    return vlbench("data", *words)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make-mini` writes a tiny edition."""
    monkeypatch.setattr(
        edition,
        "write_mini",
        lambda folder, seed, progress: write.write_mini(folder, seed, TINY, progress),
    )
    monkeypatch.setattr(
        edition,
        "write_video",
        lambda folder, seed, progress: write_video.write_video(folder, seed, TINY_VIDEO, progress),
    )


@pytest.mark.usefixtures("tiny")
def test_make_mini_writes_an_edition_with_a_contact_sheet(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "mini"
    result = data("make-mini", "--out", str(out))
    assert result.exit_code == 0
    assert result.stdout == f"{out}\n"
    assert (out / "contact_sheet.png").is_file()
    assert [path.name for path in out.parent.iterdir()] == ["mini"]
    assert data("check", "--tasks", "image-text", "--root", str(out)).exit_code == 0


@pytest.mark.usefixtures("tiny")
def test_make_mini_leaves_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    result = data("make-mini", "--out", str(tmp_path))
    assert result.exit_code == 2
    assert "not empty: name a new folder" in result.stderr
    result = data("make-mini", "--out", str(tmp_path / "file"))
    assert result.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert data("make-mini", "--out", str(tmp_path / "x"), "--seed", "-1").exit_code == 2


def test_check_counts_examples_and_pictures(bench: Bench) -> None:
    result = data("check", "--tasks", "nlvr2", "--root", str(bench.root), "--json")
    assert result.exit_code == 0
    first, *_ = items(result, "check")
    facts = {"task": "nlvr2", "split": "train", "examples": 24, "pictures": 24, "ready": True}
    assert first | facts == first
    assert first["files"] == {str(bench.root / "nlvr2" / "train.json"): True}
    assert first["problems"] == [] and first["counts"] == {"consistency groups": 6}
    table = data("check", "--tasks", "nlvr2", "--root", str(bench.root)).stdout.splitlines()
    assert table[0].split() == ["task", "split", "examples", "pictures", "features", "state"]
    assert len(table) == 4
    assert table[1].split()[-1] == "ready"


def test_check_goes_on_after_what_it_misses_and_exits_3(bench: Bench, tmp_path: Path) -> None:
    result = data("check", "--tasks", "nlvr2,gqa", "--root", str(tmp_path), "--edition", "full")
    assert result.exit_code == 3
    assert [line.split()[:2] for line in result.stdout.splitlines()[1:]] == [
        ["nlvr2", "train"], ["nlvr2", "dev"], ["nlvr2", "test1"],
        ["gqa", "train"], ["gqa", "val"], ["gqa", "testdev"],
    ]  # fmt: skip
    assert result.stderr.count("published at https://") == 6
    assert "A run could not start with these data." in result.stderr


def test_check_looks_at_all_of_the_edition_or_at_the_only_one(tmp_path: Path) -> None:
    result = data("check", "--edition", "full", "--root", str(tmp_path), "--json")
    assert result.exit_code == 3
    tasks = {item["task"] for item in items(result)}
    assert tasks == {card.name for card in all_tasks() if "full" in card.splits}
    result = data("check", "--tasks", "nlvr", "--root", str(tmp_path))
    assert result.exit_code == 3 and str(tmp_path / "nlvr") in result.stderr


def test_check_tells_what_it_misses(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    result = data("check", "--tasks", "gqa", "--root", nowhere)
    assert result.exit_code == 3 and "train_balanced_questions.json" in result.stderr
    more = ("--features", nowhere, "--edition", "full", "--root", str(tmp_path))
    assert data("check", "--tasks", "gqa", *more).exit_code == 3
    assert data("check", "--tasks", "gqa", "--edition", "ful").exit_code == 2
    assert data("check", "--tasks", "gqq").exit_code == 2


def test_a_file_that_several_splits_and_tasks_miss_is_told_once(tmp_path: Path) -> None:
    result = data("check", "--edition", "full", "--tasks", "image-text", "--root", str(tmp_path))
    assert result.exit_code == 3
    lines = [line for line in result.stderr.splitlines() if ": no file " in line]
    files = [line.partition(": no file ")[2].split()[0] for line in lines]
    assert len(files) == len(set(files)) == 11
    [shared] = [line for line in lines if "dataset_coco.json" in line]
    assert "vqav2 train, val, test; coco train, val, test: no file" in shared


TOY = "tests.data.toy_encoder:ToyEncoder"


def extract(*words: str | Path) -> Result:
    return vlbench("data", "extract-features", *words)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for number in range(5):
        picture(tmp_path / f"images/p{number}.png", number * 40)
    return tmp_path / "images"


def test_the_store_is_written_and_said(images, tmp_path) -> None:
    result = extract("--encoder", TOY, "--images", images, "--out", tmp_path / "s")
    assert result.exit_code == 0 and result.stdout == f"{tmp_path / 's'}\n"
    assert "0 of 5 pictures" in result.stderr and "5 of 5 pictures" in result.stderr
    assert open_store(tmp_path / "s").missing(["p0", "p4"]) == []


def test_json_says_what_was_made(images, tmp_path) -> None:
    words = ("--images", images, "--out", tmp_path / "s", "--json", "--device", "cpu")
    answer = document(extract("--encoder", "mini", *words), "extracted")
    assert answer.pop("seconds") > 0 and len(answer.pop("encoder_hash")) == 64
    facts = {"encoder": "mini", "kind": "pictures", "count": 5, "tokens": 16, "width": 128}
    assert answer == {"schema": "vlbench.extracted/1", "store": str(tmp_path / "s"), **facts}


def test_frames_are_extracted_clip_by_clip(images, tmp_path) -> None:
    words = ("--images", images.parent, "--out", tmp_path / "s", "--kind", "frames")
    result = extract("--encoder", "mini", *words, "--batch-size", "2")
    assert result.exit_code == 0 and "1 of 1 clips" in result.stderr
    assert open_store(tmp_path / "s").read("images").shape == (5, 128)


def test_unreadable_pictures_end_with_exit_code_3(images, tmp_path) -> None:
    (images / "p3.png").write_bytes(b"none")
    result = extract("--encoder", TOY, "--images", images, "--out", tmp_path / "s")
    assert result.exit_code == 3 and "p3.png: not a readable picture" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--encoder", "mni"), 2, "Did you mean 'mini'"),
        (("--encoder", "no.such:Thing"), 2, "no module named 'no'"),
        (("--encoder", "mini", "--device", "gpu"), 2, "should be auto, cpu or a GPU's number"),
        (("--encoder", "mini", "--device", "99"), 3, "this machine has"),
        (("--encoder", "mini", "--batch-size", "0"), 2, "Invalid value for '--batch-size'"),
        (("--encoder", "clip-vit-b32", "--weights", "none"), 3, "--weights none: no such folder"),
    ],
)
def test_what_does_not_fit_is_told(words, code, told, images, tmp_path) -> None:
    result = extract(*words, "--images", images, "--out", tmp_path / "s")
    assert result.exit_code == code and told in result.stderr
    assert not list(tmp_path.glob("s*"))


def test_an_interrupt_says_how_to_go_on(images, tmp_path, monkeypatch) -> None:
    def interrupted(*_: object) -> np.ndarray:
        raise KeyboardInterrupt

    monkeypatch.setattr("vlbench.encoders.mini.MiniEncoder.encode", interrupted)
    result = extract("--encoder", "mini", "--images", images, "--out", tmp_path / "s")
    assert result.exit_code == 130 and "the same command goes on with it" in result.stderr


def test_off_a_terminal_a_line_is_shown_now_and_then(monkeypatch, capsys) -> None:
    times = iter([0.0, 1.0, 2.0, 12.0, 13.0, 14.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    with progress.counting("pictures") as count:
        for done in (100, 110, 220, 230, 300):
            count(done, 300)
    assert capsys.readouterr().err.splitlines() == [
        "100 of 300 pictures",
        "220 of 300 pictures, 10.0 a second, 8 s left",
        "300 of 300 pictures, 14.3 a second, 0 s left",
    ]


def test_it_works_where_a_file_system_knows_no_locks(images, tmp_path, monkeypatch) -> None:
    def no_locks(file: object, kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    monkeypatch.setattr("vlbench.runs.lock.POLL_SECONDS", 0.02)
    result = extract("--encoder", TOY, "--images", images, "--out", tmp_path / "s")
    assert result.exit_code == 0, result.output
    assert sorted(file.name for file in (tmp_path / "s").iterdir()) == [
        "features.npy", "index.json"
    ]  # fmt: skip
