"""The edition as files: official formats, the same bytes for one seed, whole or not at all."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path

import pytest

from tests.data.mini.builders import TINY, TINY_VIDEO, digests
from vlbench.cards.load import load_task
from vlbench.data.images import find_pictures, open_clip
from vlbench.data.mini import records
from vlbench.data.mini import write as module
from vlbench.data.mini.write import (
    SIZES,
    VERSION,
    make_mini,
    mini_root,
    write_mini,
)
from vlbench.data.mini.write_clips import VIDEO_SIZES, VIDEO_VERSION, Sizes, write_video
from vlbench.data.readers import load_reader
from vlbench.data.table import indexed
from vlbench.errors import UsageError


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "write_mini", partial(write_mini, sizes=TINY))
    monkeypatch.setattr(module, "write_video", partial(write_video, sizes=TINY_VIDEO))


WHOLE = "562d7f5b8e19d94554ec1241b66e03d3610b449e4ac1d5fe8efc4b0de760b04f"


@pytest.mark.parametrize(
    ("sizes", "video_sizes", "known"),
    [
        pytest.param(SIZES, VIDEO_SIZES, WHOLE, marks=pytest.mark.slow),
        (TINY, TINY_VIDEO, "490755296f4c931bae27663fc30e50aefcfb30c213bf7078d1092ec04a9a76e3"),
    ],
)
def test_what_this_version_writes_does_not_change(
    sizes: Sizes, video_sizes: Sizes, known: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails on purpose, raise the version: other files, other numbers.

    All questions, statements and captions of this edition were checked against their scenes.
    """
    assert (VERSION, VIDEO_VERSION) == (2, 3)
    monkeypatch.setattr(records, "save_picture", lambda scene, path: None)
    write_mini(tmp_path, 0, sizes)
    write_video(tmp_path, 0, video_sizes)
    contents = b"".join(path.read_bytes() for path in sorted(tmp_path.rglob("*.json*")))
    assert hashlib.sha256(contents).hexdigest() == known


@pytest.mark.parametrize("task", ["vqav2", "gqa", "nlvr2", "coco"])
def test_the_official_readers_find_no_fault_in_pictures(tiny, task) -> None:
    card = load_task(task)
    splits = card.splits["mini"]
    reader = load_reader(card.reader, tiny)
    visuals = [
        find_pictures(reader, indexed(reader, name, train=False))
        for name in (*splits.train, *splits.val, *splits.test)
    ]
    assert not any(faults.texts for _, faults in visuals)
    pictures = {"vqav2": [16, 3, 3], "coco": [16, 3, 3], "gqa": [8, 2, 2], "nlvr2": [24, 16, 16]}
    assert [len(paths) for paths, _ in visuals] == pictures[task]


@pytest.mark.parametrize("task", ["tvqa", "how2qa", "tvc", "yc2c"])
def test_the_official_readers_find_no_fault_in_clips_and_splits_share_none(
    tiny_video, task
) -> None:
    card = load_task(task)
    reader = load_reader(card.reader, tiny_video)
    splits = card.splits["mini"]
    clips = []
    for split in (*splits.train, *splits.val, *splits.test):
        examples = reader.read(split)
        clips.append({example.images for example in examples})
        assert all(example.context.startswith("[Subs] ") for example in examples)
        for [clip] in clips[-1]:
            assert len(open_clip(reader.image_path(clip))) >= 2
    assert all(clips) and sum(map(len, clips)) == len(set().union(*clips))
    if task == "tvc":  # as in reality about the clips of TVQA
        of_tvqa = load_reader("tvqa", tiny_video).read("val")
        assert {example.images for example in of_tvqa} == clips[1]


def test_a_folder_that_holds_something_is_refused_and_an_empty_one_will_do(tiny, tmp_path) -> None:
    (tmp_path / "mine").mkdir()
    make_mini(tmp_path / "mine", 0)
    whole = digests(tmp_path / "mine")
    assert digests(tiny).items() < whole.items()
    assert os.listdir(tmp_path) == ["mine"]
    with pytest.raises(UsageError, match="mine is there already and not empty: name a new folder"):
        make_mini(tmp_path / "mine", 0)
    assert digests(tmp_path / "mine") == whole


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_failure_in_the_middle_leaves_nothing(error, tmp_path) -> None:
    def fail(what: str) -> None:
        if what == "GQA":
            raise error

    with pytest.raises(error):
        make_mini(tmp_path / "mini", 0, fail)
    assert list(tmp_path.iterdir()) == []


def test_pictures_and_clips_are_made_once_each_when_they_are_needed(cache: Path) -> None:
    log: list[str] = []
    root = mini_root(progress=log.append)
    assert root == cache / f"mini-v{VERSION}-seed0" and log == ["COCO and VQAv2", "GQA", "NLVR2"]
    assert mini_root(progress=log.append) == root and len(log) == 3
    root = mini_root("video", log.append)
    assert root == cache / f"mini-video-v{VIDEO_VERSION}-seed0"
    assert log[3:] == ["clips of tvqa and tvc", "clips of how2qa", "clips of yc2c"]
    assert {path.name for path in root.iterdir()} == {"video", "mini-video.json"}
    assert mini_root("video", log.append) == root and len(log) == 6
