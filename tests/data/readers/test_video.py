"""What holds for every video dataset, and the pitfalls of their official files.

What a model reads of a clip is tested against the authors' rule, character for character:
`[Subs] {subtitles} [Q] {question} [TS] ({moment}) [Choices] a0: {choice}. ... {prompt}`, of which
TVC has `[TS] ({moment})` alone and YC2C neither: one space before the prompt, one at its end.
"""

from __future__ import annotations

import pytest

from vlbench.cards.load import load_task
from vlbench.cards.schema import TrainSettings
from vlbench.data.batches import FeatureData
from vlbench.data.images import find_pictures
from vlbench.data.readers import load_reader
from vlbench.data.readers.video import TVC, TVQA, YC2C, How2QA
from vlbench.data.table import indexed
from vlbench.errors import DataError

ANN = "video/ann"
YC2C_SUBTITLES = f"{ANN}/yc2_subtitles.jsonl"
YC2C_TRAIN = f"{ANN}/yc2c/yc2c_train_release.jsonl"
TVQA_TRAIN = f"{ANN}/tvqa/tvqa_train.jsonl"
STEPS = ("-joyO7IaGWL_10", "YS_s0R7Eks_3")
"""Names that begin with a dash or hold an underscore; behind the last one is the step."""
TVC_CLIP = "house_s03e12_seg02_clip_17"
TVQA_CLIP = "s03e02_seg02_clip_10"  # The Big Bang Theory's clips have no show in front


def said(clip: str, *texts: str) -> dict[str, object]:
    sub = [{"text": text, "start": 1.5 * n, "end": 2.0 * n} for n, text in enumerate(texts)]
    return {"vid_name": clip, "sub": sub}


def step(clip: str, number: int) -> dict[str, object]:
    descs = [{"desc": "stir it", "desc_id": number}]
    return {"vid_name": clip, "clip_id": number, "duration": 7, "descs": descs}


def moment(clip_id: int, captions: int) -> dict[str, object]:
    descs = [
        {"desc": f"House opens door {n}. ", "desc_id": 10 * clip_id + n, "type": "vt"}
        for n in range(captions)
    ]
    times = {"duration": 116.02000000000001, "ts": [35.73, 40.9]}
    return {"vid_name": TVC_CLIP, **times, "descs": descs, "clip_id": clip_id}


def question(qid: int = 122040, **changes: object) -> dict[str, object]:
    choices = ("A cup. ", "A letter", " No.. ", "At 3.5 p.m.", "A phone")
    return {
        **{f"a{n}": choice for n, choice in enumerate(choices)},
        **{"answer_idx": 3, "q": " What is it? ", "qid": qid, "ts": "20.16-25.12"},
        **{"show_name": "The Big Bang Theory", "vid_name": TVQA_CLIP},
        **changes,
    }


def without(record: dict[str, object], key: str) -> dict[str, object]:
    return {name: value for name, value in record.items() if name != key}


@pytest.fixture
def clips(root):
    """Some records of each task, and subtitles of their clips."""
    root.lines(YC2C_TRAIN, [step(clip, n) for n, clip in enumerate(STEPS, 1)])
    root.lines(YC2C_SUBTITLES, [said(clip, f" in {clip}") for clip in (*STEPS, "x_3")])
    root.lines(
        f"{ANN}/tv_subtitles.jsonl", [said(TVC_CLIP, " House : No."), said(TVQA_CLIP, " L : Hey.")]
    )
    for split, captions in (("train", 2), ("val", 4)):
        records = [moment(n, captions) for n in (86602, 86603)]
        root.lines(f"{ANN}/tvc/tvc_{split}_release.jsonl", records)
    root.lines(TVQA_TRAIN, [question()])
    root.lines(f"{ANN}/tvqa/tvqa_val.jsonl", [question(7, show_name="How I Met You Mother")])
    return root


def contexts(root) -> list[str]:
    return [example.context for example in YC2C(root.folder).read("train", for_training=True)]


def test_all_subtitles_of_the_clip_are_joined_in_the_order_of_the_file(clips) -> None:
    late, early = " Joey : Hey. ", "\tRoss&#39;s\n"
    old = said(STEPS[1], "of two records the later one holds")
    texts = (said(STEPS[0], late, early, late), said(STEPS[1], "no punctuation"))
    clips.lines(YC2C_SUBTITLES, [old, *texts])
    assert contexts(clips) == [
        "[Subs] Joey : Hey. Ross&#39;s Joey : Hey.",  # as spelt: the authors unescape nothing
        "[Subs] no punctuation",
    ]
    clips.lines(YC2C_SUBTITLES, [said(STEPS[0]), said(STEPS[1], " ")])
    assert contexts(clips) == ["[Subs] ", "[Subs] "]


def test_faults_of_subtitles_are_named_once_and_not_for_every_record(clips) -> None:
    clips.lines(YC2C_SUBTITLES, [said(STEPS[1], "two")])
    with pytest.raises(DataError) as caught:
        YC2C(clips.folder).read("train")
    missing = f"no subtitles of clip {STEPS[0]} in yc2_subtitles.jsonl"
    assert str(caught.value) == f"{clips / YC2C_TRAIN}: line 1: {missing}"
    clips.lines(YC2C_SUBTITLES, [{"vid_name": STEPS[0], "sub": [{"start": 1}]}, 7])
    with pytest.raises(DataError) as caught:
        YC2C(clips.folder).read("train")
    assert str(caught.value).splitlines() == [
        f"{clips / YC2C_SUBTITLES}: line 1: 'text' is missing",
        f"{clips / YC2C_SUBTITLES}: line 2: should be an object, found 7",
    ]


def test_a_clips_frames_lie_in_a_folder_of_its_name(clips) -> None:
    folder = clips / f"video/frames/yc2/{STEPS[0]}"
    folder.mkdir(parents=True)
    reader = YC2C(clips.folder)
    paths, faults = find_pictures(reader, indexed(reader, "train", train=False))
    assert paths == {STEPS[0]: folder}
    [line] = faults.texts
    assert f"video/frames/yc2/{STEPS[1]}: no such clip" in line and "example 2" in line


def test_a_test_split_has_no_labels_and_every_other_needs_them(clips) -> None:
    hidden = without(step(STEPS[0], 7), "descs")
    clips.lines(f"{ANN}/yc2c/yc2c_test_release.jsonl", [hidden])
    [example] = YC2C(clips.folder).read("test")
    assert (example.id, example.targets) == ("7", {})
    assert example.annotation == hidden
    clips.lines(YC2C_TRAIN, [hidden, {**step(STEPS[0], 1), "vid_name": 25848}])
    with pytest.raises(DataError) as caught:
        YC2C(clips.folder).read("train")
    assert str(caught.value).splitlines() == [
        f"{clips / YC2C_TRAIN}: line 1: 'descs' is missing: 7 has no label",
        f"{clips / YC2C_TRAIN}: line 2: 'vid_name' should be a string, found 25848",
    ]


def test_the_public_test_file_serves_where_the_merged_one_is_absent(clips) -> None:
    moments = [without(moment(n, 1), "descs") for n in (1, 2)]
    questions = [without(question(n), "answer_idx") for n in (1, 2)]
    for reader, records, public, merged in (
        (TVC, moments, "tvc/tvc_test_public_release", "tvc/tvc_test_release"),
        (TVQA, questions, "tvqa/tvqa_test_public", "tvqa/tvqa_test_release"),
    ):
        clips.lines(f"{ANN}/{public}.jsonl", records[:1])
        assert [example.id for example in reader(clips.folder).read("test")] == ["1"]
        clips.lines(f"{ANN}/{merged}.jsonl", records)  # holds the public ones too
        examples = reader(clips.folder).read("test")
        assert [(e.id, e.targets, "label" in e.annotation) for e in examples] == [
            ("1", {}, False), ("2", {}, False)
        ]  # fmt: skip


def test_every_description_is_trained_on_and_every_clip_is_scored_once(clips) -> None:
    reader = TVC(clips.folder)
    trained, examples = reader.read("train", for_training=True), reader.read("val")
    assert [(len(example.targets), example.annotation) for example in trained] == [(1, {})] * 4
    assert [example.id for example in examples] == ["86602", "86603"]
    assert {example.images for example in examples} == {(TVC_CLIP,)}
    captions = [f"House opens door {n}. " for n in range(4)]  # as annotated, spaces too
    assert examples[1].annotation["captions"] == captions


def test_the_target_is_the_name_of_the_right_choice_and_so_is_the_label(clips) -> None:
    [example] = TVQA(clips.folder).read("val")
    assert (example.id, example.images, example.targets) == ("7", (TVQA_CLIP,), {"a3": 1.0})
    assert example.annotation["label"] == "a3"
    assert example.family == "How I Met You Mother"  # the dataset's slip
    equal = [question(n, a1="Red", a4="Red", answer_idx=i) for n, i in ((1, 1), (2, 4))]
    clips.lines(TVQA_TRAIN, equal)
    first, second = TVQA(clips.folder).read("train", for_training=True)
    assert (first.targets, second.targets) == ({"a1": 1.0}, {"a4": 1.0})
    assert first.text == second.text and first.annotation == {}


def test_a_moment_that_is_none_stands_in_the_text_as_it_is(clips) -> None:
    moments = ("NaN-NaN", "0-0", "19.18-19.18", "25.12-20.16")
    clips.lines(TVQA_TRAIN, [question(n, ts=text) for n, text in enumerate(moments)])
    for example, text in zip(TVQA(clips.folder).read("train"), moments, strict=True):
        assert f" [TS] ({text}) [Choices] " in example.text


def test_how2qa_has_four_choices_and_names_that_are_no_numbers(root) -> None:
    names = ("25848", "e_1341c")
    root.lines(f"{ANN}/how2_subtitles.jsonl", [said(clip, f"this is {clip}") for clip in names])
    record = {"ts": "1.70-1.70", "q": "Which?", "a0": "Saw.", "a1": "Drill.", "a2": "A", "a3": "B"}
    records = [{**record, "vid_name": c, "qid": n, "answer_idx": n} for n, c in enumerate(names)]
    root.lines(f"{ANN}/how2qa/how2qa_train_release.jsonl", records)
    first, second = How2QA(root.folder).read("train")
    assert (first.images, second.images) == (("25848",), ("e_1341c",))
    assert (first.targets, second.targets) == ({"a0": 1.0}, {"a1": 1.0})
    assert first.family == ""
    assert second.context == "[Subs] this is e_1341c"


SPOKEN = [" Leonard : Hey. ", "it&#39;s me"]
SUBS = "[Subs] Leonard : Hey. it&#39;s me"
CHOICES = {"a0": "Oil. ", "a1": "No", "a2": "3.5 p.m.", "a3": " Two"}
LISTED = "a0: Oil. a1: No. a2: 3.5 p.m. a3: Two."
ASKED = {"q": " What is it? ", "ts": "0-0", "qid": 1, "answer_idx": 1, **CHOICES}
READ = "[Q] What is it? [TS] (0-0) [Choices] " + LISTED
DESCRIBED = {"clip_id": 1, "descs": [{"desc": "x", "desc_id": 1}]}
CASES = {
    "tvqa": ("tvqa_train", {**ASKED, "a4": ".."}, f"{SUBS} {READ} a4: . tvqa: "),
    "how2qa": ("how2qa_train_release", ASKED, f"{SUBS} {READ} how2qa: "),
    "tvc": ("tvc_train_release", {**DESCRIBED, "ts": [1.5, 4]}, f"{SUBS} [TS] ([1.5, 4]) tvc: "),
    "yc2c": ("yc2c_train_release", DESCRIBED, f"{SUBS} yc2c: "),
}


def read(root, task: str, said: list[str]) -> str:
    """The text of the task's one training example, its prompt included."""
    card, (file, record, _) = load_task(task), CASES[task]
    reader = load_reader(card.reader, root.folder)
    sub = [{"text": text} for text in said]
    root.lines(f"{ANN}/{reader.source}_subtitles.jsonl", [{"vid_name": "c", "sub": sub}])
    root.lines(f"{ANN}/{task}/{file}.jsonl", [{"vid_name": "c", **record}])
    [example] = reader.read("train", for_training=True)
    data = FeatureData(card, [example], None, TrainSettings(task_prompts=True), None)
    return data.text(example)


@pytest.mark.parametrize("task", CASES)
def test_a_text_is_the_authors_character_for_character(root, task) -> None:
    assert read(root, task, SPOKEN) == CASES[task][2]
    # Where nothing is said, two spaces stand as in the authors' texts.
    assert read(root, task, []) == CASES[task][2].replace(SUBS, "[Subs] ")
