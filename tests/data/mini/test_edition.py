"""The edition as files: official formats, the same bytes for one seed, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.data.mini.builders import TINY, TINY_VIDEO, digests
from vlbench.cards.load import load_task
from vlbench.data.images import find_pictures, open_clip
from vlbench.data.mini import write as module
from vlbench.data.mini.write import (
    GQA_QUESTIONS,
    SIZES,
    SOURCES,
    VERSION,
    VIDEO_SIZES,
    VIDEO_VERSION,
    VQA_QUESTIONS,
    make_mini,
    mini_root,
    write_mini,
    write_video,
)
from vlbench.data.readers import load_reader
from vlbench.errors import UsageError

RIVAL = """
import sys
from functools import partial
from pathlib import Path
from tests.data.mini.builders import TINY
from vlbench.data.mini import write
write.write_mini = partial(write.write_mini, sizes=TINY)
write.make_mini(Path(sys.argv[1]), 0, visuals=("image",))
"""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "write_mini", partial(write_mini, sizes=TINY))
    monkeypatch.setattr(module, "write_video", partial(write_video, sizes=TINY_VIDEO))


KNOWN = {
    "image": "fd065c40332f180707ce60077d5fc7a9a94e21452cb7d220e0ddb9eede765ec9",
    "video": "3488d470a91bdaa2992dfb6c24680000b4151c9f531eeb4c94b43a730171c429",
}
"""sha256 over the annotation files of the tiny edition, seed 0; `pytest -vv` shows the new one."""


def test_what_version_1_writes_does_not_change(tiny, tiny_video) -> None:
    """If this fails on purpose, raise the version: other files, other numbers."""
    assert (VERSION, VIDEO_VERSION) == (1, 1)
    files = [tiny / name for name in sorted(digests(tiny)) if name.endswith(".json")]
    lines = sorted(tiny_video.rglob("*.jsonl"))
    for kind, paths in (("image", files), ("video", lines)):
        contents = b"".join(path.read_bytes() for path in paths)
        assert hashlib.sha256(contents).hexdigest() == KNOWN[kind]


def test_another_seed_writes_other_bytes(tiny, tiny_video, tmp_path) -> None:
    write_mini(tmp_path / "pictures", 1, TINY)
    assert not set(digests(tmp_path / "pictures").values()) & set(digests(tiny).values())
    write_video(tmp_path / "clips", 1, TINY_VIDEO)
    assert not set(digests(tmp_path / "clips").values()) & set(digests(tiny_video).values())


@pytest.mark.parametrize("task", ["vqav2", "gqa", "nlvr2", "coco"])
def test_the_official_readers_find_no_fault_in_pictures(tiny, task) -> None:
    card = load_task(task)
    splits = card.splits["mini"]
    reader = load_reader(card.reader, tiny)
    visuals = [
        find_pictures(reader, reader.read(name))
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


@pytest.mark.slow
def test_the_embedded_edition_has_the_sizes_it_says(edition) -> None:
    for part in ("train", "val", "test"):
        assert len(edition.examples["coco", part]) == SIZES["coco"][part]
        vqav2 = len(edition.examples["vqav2", part]) / SIZES["coco"][part]
        assert 0.9 * VQA_QUESTIONS < vqav2 <= VQA_QUESTIONS
        assert len(edition.examples["nlvr2", part]) == 8 * SIZES["nlvr2"][part]
        gqa = len(edition.examples["gqa", part]) / SIZES["gqa"][part]
        assert GQA_QUESTIONS - 1 <= gqa <= GQA_QUESTIONS
    assert VIDEO_SIZES.keys() == SOURCES.keys()


def test_validation_pictures_lie_in_val2014_and_restval_is_trained_on(tiny) -> None:
    images = json.loads((tiny / "COCO/dataset_coco.json").read_text())["images"]
    assert {(image["split"], image["filepath"]) for image in images} == {
        ("train", "train2014"), ("restval", "val2014"), ("val", "val2014"), ("test", "val2014")
    }  # fmt: skip


def first(file: Path, *keys: str) -> dict[str, Any]:
    """The first record of an official file."""
    if file.suffix == ".jsonl" or "nlvr2" in file.parts:
        return json.loads(file.read_text().splitlines()[0])
    record = json.loads(file.read_text())
    for key in keys:
        record = record[key]
    return next(iter(record.values() if isinstance(record, dict) else record))


CLIP_QUESTION = "vid_name qid q ts a0 a1 a2 a3 answer_idx"
FIELDS = {
    ("vqa/v2_mscoco_val2014_annotations.json", "annotations"):
        "question_type multiple_choice_answer answers image_id answer_type question_id",
    ("GQA/testdev_balanced_questions.json",):
        "semantic entailed equivalent question imageId isBalanced groups answer semanticStr "
        "annotations types fullAnswer",
    ("nlvr2/train.json",):
        "validation sentence left_url right_url writer label synset query identifier directory",
    ("COCO/dataset_coco.json", "images"):
        "filepath filename imgid cocoid split sentids sentences",
    ("video/ann/tvqa/tvqa_val.jsonl",): f"{CLIP_QUESTION} a4 show_name",
    ("video/ann/how2qa/how2qa_val_release.jsonl",): CLIP_QUESTION,
    ("video/ann/tvc/tvc_val_release.jsonl",): "vid_name duration ts descs clip_id",
    ("video/ann/yc2c/yc2c_val_release.jsonl",): "vid_name clip_id duration descs",
}  # fmt: skip


@pytest.mark.parametrize(("where", "names"), FIELDS.items(), ids=lambda value: value[0][:12])
def test_official_fields_are_all_there(where, names, tiny, tiny_video) -> None:
    file, *keys = where
    record = first((tiny_video if "video" in file else tiny) / file, *keys)
    assert record.keys() == set(names.split())
    if "tvc" in file:
        assert [len(record["descs"]), len(record["ts"])] == [4, 2]
        assert record["descs"][0].keys() == {"desc", "desc_id", "type", "from_retrieval"}
    if "yc2c" in file:
        assert isinstance(record["duration"], int) and len(record["descs"]) == 1
        subtitles = first(tiny_video / "video/ann/tv_subtitles.jsonl")
        assert subtitles["sub"][0].keys() == {"text", "start", "end"}


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


@pytest.mark.slow
def test_of_two_processes_at_once_the_first_one_wins(tiny, project, tmp_path) -> None:
    """The other process starts when this one is in the middle, and is done before it."""
    folder = tmp_path / "mini"
    written: list[dict[str, str]] = []

    def rival(what: str) -> None:
        if what == "GQA":
            command = [sys.executable, "-c", RIVAL, str(folder)]
            # Another hash seed: no order of a set may get into the files.
            changed = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(project)}
            subprocess.run(command, check=True, timeout=60, env=changed, cwd=project)
            written.append(digests(folder))

    make_mini(folder, 0, rival, visuals=("image",))
    assert digests(folder) == written[0]
    assert digests(tiny).items() <= written[0].items()
    assert os.listdir(tmp_path) == ["mini"]


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
