"""What holds for every video dataset, and the pitfalls of their official files.

What a model reads of a clip is tested against the authors' rule, character for character:
`[Subs] {subtitles} [Q] {question} [TS] ({moment}) [Choices] a0: {choice}. ... {prompt}`, of which
TVC has `[TS] ({moment})` alone and YC2C neither: one space before the prompt, one at its end.
"""

from __future__ import annotations

from collections import Counter

import pytest

from vlbench.cards.load import load_task
from vlbench.cards.schema import TrainSettings
from vlbench.data.batches import TaskData
from vlbench.data.images import find_pictures
from vlbench.data.readers import load_reader
from vlbench.data.readers.video import TVC, TVQA, YC2C, How2QA, How2QACsv
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


TVC_CLIP = "house_s03e12_seg02_clip_17"
VAL = "video/ann/tvc/tvc_val_release.jsonl"


def moment(clip_id: int, captions: int, first: int = 62633) -> dict[str, object]:
    descs = [
        {"desc": f"House opens door {n}. ", "desc_id": first + n, "type": "vt"}
        for n in range(captions)
    ]
    return {
        "vid_name": TVC_CLIP,
        "duration": 116.02000000000001,
        "ts": [35.73, 40.9],
        "descs": descs,
        "clip_id": clip_id,
    }


@pytest.fixture
def tvc(root):
    """Two moments of one clip, with two descriptions each in train and four in val."""
    said = {"vid_name": TVC_CLIP, "sub": [{"text": " House : No."}]}
    root.lines("video/ann/tv_subtitles.jsonl", [said])
    for split, captions in (("train", 2), ("val", 4)):
        records = [moment(n, captions, first=n * 10) for n in (86602, 86603)]
        root.lines(f"video/ann/tvc/tvc_{split}_release.jsonl", records)
    return root


@pytest.fixture
def yc2c(root):
    """Two steps whose names begin with a dash or hold an underscore; subtitles for each step."""
    steps = ("-joyO7IaGWL_10", "YS_s0R7Eks_3")
    root.lines(
        "video/ann/yc2_subtitles.jsonl",
        [{"vid_name": step, "sub": [{"text": f"step {step}"}]} for step in steps],
    )
    descs = [{"desc": "add the sauce and stir", "desc_id": 10337}]
    root.lines(
        "video/ann/yc2c/yc2c_val_release.jsonl",
        [
            {"vid_name": step, "clip_id": 13447 + n, "duration": 7, "descs": descs}
            for n, step in enumerate(steps)
        ],
    )
    return root


def whole(example) -> str:
    return f"{example.context} {example.text}".rstrip()


def test_every_description_is_trained_on_and_every_clip_is_scored_once(tvc) -> None:
    reader = TVC(tvc.folder)
    assert [len(example.targets) for example in reader.read_train("train")] == [1, 1, 1, 1]
    examples = reader.read("val")
    assert [example.id for example in examples] == ["86602", "86603"]
    assert all(len(example.annotation["captions"]) == 4 for example in examples)
    assert {example.images for example in examples} == {(TVC_CLIP,)}


def test_the_text_of_tvc_shows_the_moment_as_a_list(tvc) -> None:
    [text] = {whole(example) for example in TVC(tvc.folder).read("val")}
    assert text == "[Subs] House : No. [TS] ([35.73, 40.9])"


def test_the_annotation_keeps_what_a_submission_needs(tvc) -> None:
    example = TVC(tvc.folder).read("val")[1]
    kept = {key: example.annotation[key] for key in ("vid_name", "clip_id", "ts")}
    assert kept == {"vid_name": TVC_CLIP, "clip_id": 86603, "ts": [35.73, 40.9]}
    assert example.annotation["captions"][1] == "House opens door 1. "  # as annotated, spaces too


def test_the_text_of_yc2c_is_the_subtitles_alone(yc2c) -> None:
    first, second = YC2C(yc2c.folder).read("val")
    assert (first.context, first.text) == ("[Subs] step -joyO7IaGWL_10", "")
    assert first.images == ("-joyO7IaGWL_10",)  # whole: what is behind the underscore is the step
    assert (first.id, second.id) == ("13447", "13448")


def test_the_public_test_file_serves_where_the_merged_one_is_absent(tvc) -> None:
    hidden = [{**moment(n, 0), "descs": None} for n in (1, 2)]
    for record in hidden:
        del record["descs"]
    tvc.lines("video/ann/tvc/tvc_test_public_release.jsonl", hidden[:1])
    assert [example.id for example in TVC(tvc.folder).read("test")] == ["1"]
    tvc.lines("video/ann/tvc/tvc_test_release.jsonl", hidden)
    assert [example.id for example in TVC(tvc.folder).read("test")] == ["1", "2"]


def test_what_has_no_description_is_told(tvc) -> None:
    hidden, wrong = moment(3, 1), moment(4, 1)
    del hidden["descs"]
    wrong["ts"] = "35.73-40.9"
    path = tvc.lines(VAL, [moment(1, 1), moment(1, 1), moment(2, 0), hidden, wrong])
    with pytest.raises(DataError) as caught:
        TVC(tvc.folder).read("val")
    assert str(caught.value).splitlines() == [
        f"{path}: line 2: 1 is there twice",
        f"{path}: line 3: no descriptions",
        f"{path}: line 4: 'descs' is missing: 3 has no label",
        f"{path}: line 5: 'ts' should be a list, found \"35.73-40.9\"",
    ]


TVQA_TRAIN = "video/ann/tvqa/tvqa_train.jsonl"
TVQA_CLIP = "s03e02_seg02_clip_10"  # The Big Bang Theory's clips have no show in front


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
        "vid_name": TVQA_CLIP,
        **changes,
    }


@pytest.fixture
def tvqa(root):
    """One question in train and one in val, about one clip."""
    sub = [{"text": " Leonard : Hey.", "start": 0.86, "end": 1.86}]
    root.lines("video/ann/tv_subtitles.jsonl", [{"vid_name": TVQA_CLIP, "sub": sub}])
    root.lines(TVQA_TRAIN, [question()])
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
    assert (example.id, example.images) == ("122040", (TVQA_CLIP,))


def test_the_target_is_the_name_of_the_right_choice_and_so_is_the_label(tvqa) -> None:
    [example] = TVQA(tvqa.folder).read("val")
    assert example.targets == {"a3": 1.0}
    assert example.annotation["label"] == "a3"
    assert example.family == "How I Met You Mother"  # the dataset's slip


def test_of_two_equal_choices_the_index_tells_the_right_one(tvqa) -> None:
    tvqa.lines(
        TVQA_TRAIN, [question(n, a1="Red", a4="Red", answer_idx=i) for n, i in ((1, 1), (2, 4))]
    )
    first, second = TVQA(tvqa.folder).read("train")
    assert (first.targets, second.targets) == ({"a1": 1.0}, {"a4": 1.0})
    assert first.text == second.text


@pytest.mark.parametrize("moment", ["NaN-NaN", "0-0", "19.18-19.18", "25.12-20.16"])
def test_a_moment_that_is_none_stands_in_the_text_as_it_is(tvqa, moment) -> None:
    tvqa.lines(TVQA_TRAIN, [question(ts=moment)])
    [example] = TVQA(tvqa.folder).read("train")
    assert f" [TS] ({moment}) [Choices] " in example.text


def test_faulty_questions_are_told_with_their_line(tvqa) -> None:
    hidden = question(5)
    del hidden["answer_idx"]
    records = [question(1), question(1), question(2, answer_idx=5), question(3, answer_idx=-1)]
    path = tvqa.lines(TVQA_TRAIN, [*records, question(4, ts=[1.0, 2.0]), hidden])
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
    root.lines(f"video/ann/{reader.source}_subtitles.jsonl", [{"vid_name": "c", "sub": sub}])
    root.lines(f"video/ann/{task}/{file}.jsonl", [{"vid_name": "c", **record}])
    [example] = reader.read_train("train")
    data = TaskData(card, [example], None, None, TrainSettings(task_prompts=True))
    return data.text(example)


@pytest.mark.parametrize("task", CASES)
def test_a_text_is_the_authors_character_for_character(root, task) -> None:
    assert read(root, task, SPOKEN) == CASES[task][2]


@pytest.mark.parametrize("task", CASES)
def test_where_nothing_is_said_two_spaces_stand_as_in_the_authors_texts(root, task) -> None:
    assert read(root, task, []) == CASES[task][2].replace(SUBS, "[Subs] ")


CSV_TRAIN = "video/ann/how2qa/how2QA_train_release.csv"
CSV_SUBTITLES = "video/ann/how2qa_csv_subtitles.jsonl"
ROW = '-ab_C1,[36.5:58.52],A saw.,"Oil, salt",Pliers,"Which tool, ""then"", is used?",A drill. \r\n'


@pytest.fixture
def write(root):
    """Writes the rows of a split; gives the file."""

    def written(text: str, name: str = CSV_TRAIN):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        return path

    return written


def choices(example) -> list[str]:
    return [example.annotation[f"a{place}"] for place in range(4)]


def right(example) -> str:
    [target] = example.targets
    return example.annotation[target]


def numbered(count: int) -> list[str]:
    return [f"yt{n},[{n}:{n + 2}],A,B,C,What {n}?,right\n" for n in range(count)]


def test_a_row_becomes_a_question_with_its_moment_and_four_choices(root, write) -> None:
    write(ROW)
    [example] = How2QACsv(root.folder).read("train")
    assert (example.id, example.images) == ("0", ("-ab_C1",))
    assert sorted(choices(example)) == ["A drill. ", "A saw.", "Oil, salt", "Pliers"]
    assert right(example) == "A drill. "
    assert example.annotation["label"] == next(iter(example.targets))
    start, _, listed = example.text.partition(" [Choices] ")
    assert start == '[Q] Which tool, "then", is used? [TS] (36.5-58.52)'
    shown = [choice.strip(". ") for choice in choices(example)]
    assert listed == " ".join(f"a{place}: {choice}." for place, choice in enumerate(shown))


def test_the_right_answer_stands_everywhere_equally_often(root, write) -> None:
    write("".join(numbered(1000)))
    places = Counter(next(iter(each.targets)) for each in How2QACsv(root.folder).read("train"))
    assert sorted(places) == ["a0", "a1", "a2", "a3"]
    assert all(200 < count < 300 for count in places.values())  # deviation 14


def test_wrong_choices_are_shuffled_too(root, write) -> None:
    write("".join(numbered(400)))
    orders = {tuple(choices(each)) for each in How2QACsv(root.folder).read("train")}
    assert len(orders) == 24  # all there are


def test_the_order_of_the_choices_does_not_depend_on_where_the_row_stands(root, write) -> None:
    rows = numbered(20)
    write("".join(rows))
    first = {each.images: choices(each) for each in How2QACsv(root.folder).read("train")}
    write("".join(reversed(rows[5:])))
    again = {each.images: choices(each) for each in How2QACsv(root.folder).read("train")}
    assert again == {clip: first[clip] for clip in again} and len(again) == 15


def test_the_order_of_the_choices_is_the_same_for_ever(root, write) -> None:
    write("".join(numbered(6)))
    found = [next(iter(each.targets)) for each in How2QACsv(root.folder).read("train")]
    assert found == ["a0", "a0", "a0", "a0", "a2", "a0"]


def test_of_equal_choices_and_equal_rows_none_is_lost(root, write) -> None:
    row = "yt,[1:2],Red,Blue,Green,Which?,Red\n"
    write(row + row)
    first, second = How2QACsv(root.folder).read("train")
    assert (first.id, second.id) == ("0", "1")
    assert first.targets == second.targets and right(first) == "Red"
    assert sorted(choices(first)) == ["Blue", "Green", "Red", "Red"]


def test_without_subtitles_nothing_is_said_and_with_them_every_video_needs_some(
    root, write
) -> None:
    path = write("yt1,[1:2],A,B,C,Q?,D\nyt2,[0:0],A,B,C,Q?,D\n")
    reader = How2QACsv(root.folder)
    assert [each.context for each in reader.read("train")] == ["[Subs] ", "[Subs] "]
    root.lines(CSV_SUBTITLES, [{"vid_name": "yt1", "sub": [{"text": " so "}]}])
    with pytest.raises(DataError) as caught:
        reader.read("train")
    assert str(caught.value) == (
        f"{path}: line 2: no subtitles of clip yt2 in how2qa_csv_subtitles.jsonl"
    )
    assert [file.name for file in reader.files("train")] == [path.name, CSV_SUBTITLES[10:]]


def test_faulty_rows_are_told_with_their_lines(root, write) -> None:
    path = write(
        "youtube_id,interval,w1,w2,w3,question,answer\n\n"  # it has no header
        "yt,[1:2],A,B,C,What, then?,D\n"  # a comma that is not quoted
        "yt,[1:2],A,B,C,Q?,D\n"
        "yt,1-2,A,B,C,Q?,D\n"
    )
    with pytest.raises(DataError) as caught:
        How2QACsv(root.folder).read("train")
    assert str(caught.value).splitlines() == [
        f'{path}: line 1: the moment should be [start:end], found "interval"',
        f"{path}: line 3: should have 7 columns, found 8",
        f'{path}: line 5: the moment should be [start:end], found "1-2"',
    ]


def test_what_is_no_csv_is_told(root, write) -> None:
    path = write("yt,[1:2],A,B,C,Q?,D\n" + '"' + "x" * 200_000)
    with pytest.raises(DataError, match=f"{path}: not valid CSV behind line") as caught:
        How2QACsv(root.folder).read("train")
    assert "field larger than" in str(caught.value)
    path.write_bytes(b"yt,[1:2],\xff\xfe,B,C,Q?,D\n")
    with pytest.raises(DataError, match="not valid CSV behind line 0: 'utf-8'"):
        How2QACsv(root.folder).read("train")


def test_a_missing_file_is_named_and_its_subtitles_are_not(root) -> None:
    with pytest.raises(MissingError) as caught:
        How2QACsv(root.folder).read("test_public")
    assert str(caught.value).splitlines()[1:] == [
        f"  {root.folder}/video/ann/how2qa/how2QA_test_public_release.csv"
    ]


def test_a_card_of_ones_own_reads_it(root, write, tmp_path) -> None:
    card_file = tmp_path / "how2qa-first.toml"
    card_file.write_text(
        'title = "How2QA, first release"\nreader = "how2qa-csv"\nmetric = "accuracy"\n'
        'visual = "video"\nprompt = "how2qa: "\nprompt_position = "end"\n'
        '[splits.full]\ntrain = ["train"]\nval = ["val"]\ntest = ["test_public"]\n'
    )
    write(ROW, "video/ann/how2qa/how2QA_test_public_release.csv")
    card = load_task(str(card_file))
    reader = load_reader(card.reader, root.folder)
    [example] = reader.read(card.splits["full"].test[0])
    (root / "video/frames/how2qa_csv/-ab_C1").mkdir(parents=True)
    assert reader.image_path(example.images[0]).name == "-ab_C1"
