from __future__ import annotations

from collections import Counter

import pytest

from vlbench.cards.load import load_task
from vlbench.data.readers import load_reader
from vlbench.data.readers.how2qa_csv import How2QACsv
from vlbench.errors import DataError, MissingError

TRAIN = "video/ann/how2qa/how2QA_train_release.csv"
SUBTITLES = "video/ann/how2qa_csv_subtitles.jsonl"
ROW = '-ab_C1,[36.5:58.52],A saw.,"Oil, salt",Pliers,"Which tool, ""then"", is used?",A drill. \r\n'


@pytest.fixture
def write(root):
    """Writes the rows of a split; gives the file."""

    def written(text: str, name: str = TRAIN):
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
    said, _, listed = example.text.partition(" [Choices] ")
    assert said == '[Q] Which tool, "then", is used? [TS] (36.5-58.52)'
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
    root.lines(SUBTITLES, [{"vid_name": "yt1", "sub": [{"text": " so "}]}])
    with pytest.raises(DataError) as caught:
        reader.read("train")
    assert str(caught.value) == (
        f"{path}: line 2: no subtitles of clip yt2 in how2qa_csv_subtitles.jsonl"
    )
    assert [file.name for file in reader.files("train")] == [path.name, SUBTITLES[10:]]


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
