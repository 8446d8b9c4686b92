from __future__ import annotations

import pytest

from vlbench.data.readers.video import TVQA, How2QA
from vlbench.errors import DataError

TRAIN = "video/ann/tvqa/tvqa_train.jsonl"
CLIP = "s03e02_seg02_clip_10"  # The Big Bang Theory's clips have no show in front


def question(qid: int = 122040, **changes: object) -> dict[str, object]:
    return {
        "a0": "A cup. ",
        "a1": "A letter",
        "a2": " No.. ",
        "a3": "At 3.5 p.m.",
        "a4": "A phone",
        "answer_idx": 3,
        "q": " What is it? ",
        "qid": qid,
        "show_name": "The Big Bang Theory",
        "ts": "20.16-25.12",
        "vid_name": CLIP,
        **changes,
    }


@pytest.fixture
def tvqa(root):
    """One question in train and one in val, about one clip."""
    sub = [{"text": " Leonard : Hey.", "start": 0.86, "end": 1.86}]
    root.lines("video/ann/tv_subtitles.jsonl", [{"vid_name": CLIP, "sub": sub}])
    root.lines(TRAIN, [question()])
    root.lines("video/ann/tvqa/tvqa_val.jsonl", [question(7, show_name="How I Met You Mother")])
    return root


@pytest.fixture
def how2qa(root):
    """Two of VALUE's questions in train: a numeric name and an odd one."""
    clips = ("25848", "e_1341c")
    root.lines(
        "video/ann/how2_subtitles.jsonl",
        [{"vid_name": clip, "sub": [{"text": f"this is {clip}"}]} for clip in clips],
    )
    choices = {"a0": "Saw.", "a1": "Drill.", "a2": "Pliers.", "a3": "Hammer."}
    root.lines(
        "video/ann/how2qa/how2qa_train_release.jsonl",
        [
            {"vid_name": clip, "ts": "1.70-1.70", "qid": n, "q": "Which?", **choices}
            | {"answer_idx": n}
            for n, clip in enumerate(clips)
        ],
    )
    return root


def test_the_text_of_tvqa_is_the_authors_word_for_word(tvqa) -> None:
    [example] = TVQA(tvqa.folder).read("train")
    assert f"{example.context} {example.text}" == (
        "[Subs] Leonard : Hey. [Q] What is it? [TS] (20.16-25.12) [Choices] "
        "a0: A cup. a1: A letter. a2: No. a3: At 3.5 p.m. a4: A phone."
    )
    assert (example.id, example.images) == ("122040", (CLIP,))


def test_the_target_is_the_name_of_the_right_choice_and_so_is_the_label(tvqa) -> None:
    [example] = TVQA(tvqa.folder).read("val")
    assert example.targets == {"a3": 1.0}
    assert example.annotation["label"] == "a3"
    assert example.family == "How I Met You Mother"  # the dataset's slip


def test_of_two_equal_choices_the_index_tells_the_right_one(tvqa) -> None:
    tvqa.lines(TRAIN, [question(n, a1="Red", a4="Red", answer_idx=i) for n, i in ((1, 1), (2, 4))])
    first, second = TVQA(tvqa.folder).read("train")
    assert (first.targets, second.targets) == ({"a1": 1.0}, {"a4": 1.0})
    assert first.text == second.text


@pytest.mark.parametrize("moment", ["NaN-NaN", "0-0", "19.18-19.18", "25.12-20.16"])
def test_a_moment_that_is_none_stands_in_the_text_as_it_is(tvqa, moment) -> None:
    tvqa.lines(TRAIN, [question(ts=moment)])
    [example] = TVQA(tvqa.folder).read("train")
    assert f" [TS] ({moment}) [Choices] " in example.text


def test_faulty_questions_are_told_with_their_line(tvqa) -> None:
    hidden = question(5)
    del hidden["answer_idx"]
    records = [question(1), question(1), question(2, answer_idx=5), question(3, answer_idx=-1)]
    path = tvqa.lines(TRAIN, [*records, question(4, ts=[1.0, 2.0]), hidden])
    with pytest.raises(DataError) as caught:
        TVQA(tvqa.folder).read("train")
    assert str(caught.value).splitlines() == [
        f"{path}: line 2: 1 is there twice",
        f"{path}: line 3: 'answer_idx' should be 0 to 4, found 5",
        f"{path}: line 4: 'answer_idx' should be 0 to 4, found -1",
        f"{path}: line 5: 'ts' should be a string, found [1.0, 2.0]",
        f"{path}: line 6: 'answer_idx' is missing: 5 has no label",
    ]


def test_how2qa_has_four_choices_and_names_that_are_no_numbers(how2qa) -> None:
    first, second = How2QA(how2qa.folder).read("train")
    assert (first.images, second.images) == (("25848",), ("e_1341c",))
    assert (first.targets, second.targets) == ({"a0": 1.0}, {"a1": 1.0})
    assert first.family == ""
    assert f"{second.context} {second.text}" == (
        "[Subs] this is e_1341c [Q] Which? [TS] (1.70-1.70) [Choices] "
        "a0: Saw. a1: Drill. a2: Pliers. a3: Hammer."
    )


def test_training_examples_leave_the_records_behind(tvqa) -> None:
    [example] = TVQA(tvqa.folder).read_train("train")
    assert example.annotation == {} and example.targets == {"a3": 1.0}


def test_test_questions_have_no_answer_and_the_merged_file_is_read_alone(tvqa) -> None:
    hidden = [question(n) for n in (1, 2)]
    for record in hidden:
        del record["answer_idx"]
    tvqa.lines("video/ann/tvqa/tvqa_test_public.jsonl", hidden[:1])
    assert len(TVQA(tvqa.folder).read("test")) == 1
    tvqa.lines("video/ann/tvqa/tvqa_test_release.jsonl", hidden)  # holds the public ones too
    examples = TVQA(tvqa.folder).read("test")
    assert [(e.id, e.targets, "label" in e.annotation) for e in examples] == [
        ("1", {}, False), ("2", {}, False)
    ]  # fmt: skip
