"""`vlbench data extract-features`."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tests.data.conftest import picture
from vlbench.cli import counting as progress
from vlbench.cli.app import app
from vlbench.data.stores.opening import open_store

TOY = "tests.data.toy_encoder:ToyEncoder"


def extract(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["data", "extract-features", *map(str, words)])


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
    document = json.loads(extract("--encoder", "mini", *words).stdout)
    assert document.pop("seconds") > 0 and len(document.pop("encoder_hash")) == 64
    assert document == {
        "schema": "vlbench.extracted/1",
        "store": str(tmp_path / "s"),
        "encoder": "mini",
        "kind": "pictures",
        "count": 5,
        "tokens": 16,
        "width": 128,
    }


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
    monkeypatch.setattr("vlbench.running.lock.POLL_SECONDS", 0.02)
    result = extract("--encoder", TOY, "--images", images, "--out", tmp_path / "s")
    assert result.exit_code == 0, result.output
    assert sorted(file.name for file in (tmp_path / "s").iterdir()) == [
        "features.npy", "index.json"
    ]  # fmt: skip
