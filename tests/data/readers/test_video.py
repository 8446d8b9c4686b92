"""What holds for every video dataset, and where their surprises are tested.

| what the official files do                             | tested in               |
|--------------------------------------------------------|-------------------------|
| subtitles: HTML entities, a clip twice, or never       | here                    |
| TVQA: `NaN-NaN`, `0-0`, an end before the start        | test_video_questions.py |
| TVQA: equal choices, spaces behind them                | test_video_questions.py |
| TVQA: test questions in two files                      | test_video_questions.py |
| How2QA: names that are numbers, or are none            | test_video_questions.py |
| How2QA: first release, the last answer is right        | test_how2qa_csv.py      |
| TVC: the moment is a list; two or four descriptions    | test_video_captions.py  |
| YC2C: ids with dashes and underscores                  | test_video_captions.py  |
| all: what a model reads, character for character       | test_video_texts.py     |
"""

from __future__ import annotations

import pytest

from vlbench.data.images import find_pictures
from vlbench.data.readers.video import YC2C
from vlbench.errors import DataError, MissingError

SUBTITLES = "video/ann/yc2_subtitles.jsonl"
TRAIN = "video/ann/yc2c/yc2c_train_release.jsonl"


def said(clip: str, *texts: str) -> dict[str, object]:
    sub = [{"text": text, "start": 1.5 * n, "end": 2.0 * n} for n, text in enumerate(texts)]
    return {"vid_name": clip, "sub": sub}


def described(clip: str, number: int) -> dict[str, object]:
    descs = [{"desc": "stir it", "desc_id": number}]
    return {"vid_name": clip, "clip_id": number, "duration": 7, "descs": descs}


@pytest.fixture
def clips(root):
    """Two clips, `x_1` and `x_2`, and subtitles of three."""
    root.lines(TRAIN, [described("x_1", 1), described("x_2", 2)])
    root.lines(SUBTITLES, [said(clip, f" in {clip}") for clip in ("x_1", "x_2", "x_3")])
    return root


def texts(root) -> list[str]:
    return [example.context for example in YC2C(root.folder).read_train("train")]


def test_all_subtitles_of_the_clip_are_joined_in_the_order_of_the_file(clips) -> None:
    late, early = " Joey : Hey. ", "\tRoss&#39;s\n"
    clips.lines(SUBTITLES, [said("x_1", late, early, late), said("x_2", "no punctuation")])
    assert texts(clips) == [
        "[Subs] Joey : Hey. Ross&#39;s Joey : Hey.",  # as spelt: the authors unescape nothing
        "[Subs] no punctuation",
    ]


def test_a_clip_in_which_nothing_is_said_has_empty_subtitles(clips) -> None:
    clips.lines(SUBTITLES, [said("x_1"), said("x_2", " ")])
    assert texts(clips) == ["[Subs] ", "[Subs] "]


def test_of_two_records_for_a_clip_the_later_one_holds(clips) -> None:
    clips.lines(SUBTITLES, [said("x_1", "old"), said("x_2", "two"), said("x_1", "new")])
    assert texts(clips) == ["[Subs] new", "[Subs] two"]


def test_a_clip_without_subtitles_is_told_with_its_line(clips) -> None:
    clips.lines(SUBTITLES, [said("x_2", "two")])
    with pytest.raises(DataError) as caught:
        YC2C(clips.folder).read("train")
    told = f"{clips / TRAIN}: line 1: no subtitles of clip x_1 in yc2_subtitles.jsonl"
    assert str(caught.value) == told


def test_faulty_subtitles_are_told_once_and_not_for_every_record(clips) -> None:
    clips.lines(SUBTITLES, [{"vid_name": "x_1", "sub": [{"start": 1}]}, said("x_2", "two"), 7])
    with pytest.raises(DataError) as caught:
        YC2C(clips.folder).read("train")
    assert str(caught.value).splitlines() == [
        f"{clips / SUBTITLES}: line 1: 'text' is missing",
        f"{clips / SUBTITLES}: line 3: should be an object, found 7",
    ]


def test_a_clip_whose_name_is_no_string_is_told(clips) -> None:
    clips.lines(TRAIN, [{**described("x_1", 1), "vid_name": 25848}])
    with pytest.raises(DataError, match="line 1: 'vid_name' should be a string, found 25848"):
        YC2C(clips.folder).read("train")


def test_missing_files_are_named_the_subtitles_too(tmp_path) -> None:
    with pytest.raises(MissingError) as caught:
        YC2C(tmp_path).read("val")
    for name in ("yc2c/yc2c_val_release.jsonl", "yc2_subtitles.jsonl"):
        assert f"{tmp_path}/video/ann/{name}" in str(caught.value)


def test_a_clips_frames_lie_in_a_folder_of_its_name(clips) -> None:
    (clips / "video/frames/yc2/x_1").mkdir(parents=True)
    reader = YC2C(clips.folder)
    paths, faults = find_pictures(reader, reader.read("train"))
    assert {name: str(path) for name, path in paths.items()} == {
        "x_1": f"{clips.folder}/video/frames/yc2/x_1"
    }
    [line] = faults.texts
    assert f"{clips.folder}/video/frames/yc2/x_2: no such clip" in line and "example 2" in line


def test_a_test_split_has_no_labels_and_can_only_be_answered(clips) -> None:
    record = {key: value for key, value in described("x_1", 7).items() if key != "descs"}
    clips.lines("video/ann/yc2c/yc2c_test_release.jsonl", [record])
    [example] = YC2C(clips.folder).read("test")
    assert (example.id, example.targets) == ("7", {})
    assert example.annotation == {"vid_name": "x_1", "clip_id": 7}


def test_a_record_without_labels_is_a_fault_in_every_other_split(clips) -> None:
    clips.lines(TRAIN, [{"vid_name": "x_1", "clip_id": 7, "duration": 3}])
    with pytest.raises(DataError, match="line 1: 'descs' is missing: 7 has no label"):
        YC2C(clips.folder).read("train")
