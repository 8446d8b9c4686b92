from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.data.mini.builders import TINY_VIDEO, digests
from vlbench.cards.load import load_task
from vlbench.data.images import open_clip
from vlbench.data.mini.sheet import COLUMNS, GAP, PICTURE, video_sheet
from vlbench.data.mini.write import SOURCES, VIDEO_SIZES, VIDEO_VERSION, write_video
from vlbench.data.readers import load_reader

ANNOTATIONS = "3488d470a91bdaa2992dfb6c24680000b4151c9f531eeb4c94b43a730171c429"
"""sha256 over the annotation files of the tiny clips, seed 0; `pytest -vv` shows the new one."""
TASKS = ("tvqa", "how2qa", "tvc", "yc2c")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("video")
    write_video(folder, 0, TINY_VIDEO)
    return folder


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(
    root: Path, tmp_path: Path
) -> None:
    for name, seed in (("again", 0), ("other", 1)):
        (tmp_path / name).mkdir()
        write_video(tmp_path / name, seed, TINY_VIDEO)
    assert digests(tmp_path / "again") == digests(root)
    assert not set(digests(tmp_path / "other").values()) & set(digests(root).values())


def test_what_version_1_writes_does_not_change(root: Path) -> None:
    """If this fails on purpose, raise VIDEO_VERSION: other files, other numbers."""
    texts = sorted(root.rglob("*.jsonl"))
    found = hashlib.sha256(b"".join(path.read_bytes() for path in texts)).hexdigest()
    assert (VIDEO_VERSION, found) == (1, ANNOTATIONS)


@pytest.mark.parametrize("task", TASKS)
def test_the_official_readers_find_no_fault(root: Path, task: str) -> None:
    card = load_task(task)
    reader = load_reader(card.reader, root)
    splits = card.splits["mini"]
    for split in (*splits.train, *splits.val, *splits.test):
        examples = reader.read(split)
        assert examples
        for example in examples:
            [clip] = example.images
            assert len(open_clip(reader.image_path(clip))) >= 2
            assert example.context.startswith("[Subs] ")


def test_clips_of_a_split_are_in_no_other(root: Path) -> None:
    for task in TASKS:
        card = load_task(task)
        reader = load_reader(card.reader, root)
        splits = card.splits["mini"]
        clips = [
            {example.images for example in reader.read(split)}
            for split in (*splits.train, *splits.val, *splits.test)
        ]
        assert sum(map(len, clips)) == len(set().union(*clips))


def test_tvqa_and_tvc_are_about_the_same_clips(root: Path) -> None:
    tvqa, tvc = (load_reader(name, root).read("val") for name in ("tvqa", "tvc"))
    assert {example.images for example in tvc} == {example.images for example in tvqa}


def test_official_fields_are_all_there(root: Path) -> None:
    def first(name: str) -> dict:
        return json.loads((root / "video/ann" / name).read_text().splitlines()[0])

    assert first("tvqa/tvqa_val.jsonl").keys() == {
        "vid_name", "qid", "q", "ts", "a0", "a1", "a2", "a3", "a4", "answer_idx", "show_name",
    }  # fmt: skip
    assert first("how2qa/how2qa_val_release.jsonl").keys() == {
        "vid_name", "qid", "q", "ts", "a0", "a1", "a2", "a3", "answer_idx",
    }  # fmt: skip
    moment = first("tvc/tvc_val_release.jsonl")
    assert moment.keys() == {"vid_name", "duration", "ts", "descs", "clip_id"}
    assert [len(moment["descs"]), len(moment["ts"])] == [4, 2]
    assert moment["descs"][0].keys() == {"desc", "desc_id", "type", "from_retrieval"}
    step = first("yc2c/yc2c_val_release.jsonl")
    assert step.keys() == {"vid_name", "clip_id", "duration", "descs"}
    assert isinstance(step["duration"], int) and len(step["descs"]) == 1
    assert first("tv_subtitles.jsonl")["sub"][0].keys() == {"text", "start", "end"}


def test_sizes_are_named_for_every_source_and_part() -> None:
    assert VIDEO_SIZES.keys() == SOURCES.keys()
    assert all(sizes.keys() == {"train", "val", "test"} for sizes in VIDEO_SIZES.values())


def test_the_sheet_shows_frames_of_each_task(root: Path) -> None:
    sheet = video_sheet(root)
    assert sheet.width == GAP + COLUMNS * (PICTURE + GAP)
    assert 4 * PICTURE < sheet.height < 10 * PICTURE
    assert len(sheet.resize((200, 200)).getcolors(40_000)) > 500
