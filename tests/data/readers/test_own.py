"""Your own data: four formats, one set of examples, and whatever can be wrong with a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.readers.own_data import (
    FORMATS,
    SIZES,
    Record,
    reader_of,
    records,
    write_card,
    write_records,
    write_set,
)
from vlbench.cards import load_task
from vlbench.cards.load import hashed
from vlbench.data.example import Example
from vlbench.data.images import find_pictures
from vlbench.data.readers import card_reader, load_reader
from vlbench.data.readers.splitting import split_by_picture
from vlbench.data.table import indexed
from vlbench.errors import CardError, DataError, MissingError


def everywhere(name: str) -> Record:
    """The same file or glob for each split."""
    return {split: [name] for split in SIZES}


def read(folder: Path, rows: list[Any], reader: str = "jsonl", **keys: Any) -> list[Example]:
    """The training examples of these records, with a card that says no more than it must."""
    folder.mkdir(exist_ok=True)
    write_records(folder, reader, rows)
    name = (
        "."
        if reader == "folder"
        else {"csv": "data.csv", "llava": "data.json"}.get(reader, "data.jsonl")
    )
    return reader_of(write_card(folder, reader, everywhere(name), **keys)).read("train")


def faults(folder: Path, rows: list[Any], **keys: Any) -> list[str]:
    """The lines of the error about these records, without the file's name."""
    with pytest.raises(DataError) as caught:
        read(folder, rows, **keys)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def row(**changes: Any) -> Record:
    """A record without faults, changed; None takes a key away."""
    whole = {"image": "0.png", "question": "What is it?", "answer": "a dog", **changes}
    return {key: value for key, value in whole.items() if value is not None}


def test_four_formats_hold_the_same_examples(tmp_path: Path) -> None:
    sets = []
    for name in FORMATS:
        reader = reader_of(write_set(tmp_path / name, name))
        tables = {split: indexed(reader, split, train=False) for split in SIZES}
        assert {split: len(table) for split, table in tables.items()} == SIZES
        for table in tables.values():
            assert not find_pictures(reader, table)[1].texts
        sets.append({split: list(table) for split, table in tables.items()})
    assert sets[1:] == sets[:1] * 3
    assert sets[0]["val"][1] == Example(
        "q1", 'What "colour" is it, then?', ("val/1.png",), {"blue": 1.0}, {"answers": ["blue"]}
    )


def test_ids_and_questions_may_be_left_out_and_pictures_lie_in_a_folder_of_their_own(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "set"
    write_set(folder, "jsonl")
    rows = [{"image": "train/0.png", "captions": ["A dog. ", "a cat"]}]
    (folder / "a.jsonl").write_text(json.dumps(rows[0]))
    files = {"train": ["*.jsonl"], "val": ["a.jsonl"], "test": ["a.jsonl"], "images": "."}
    reader = reader_of(write_card(folder, "jsonl", files, metric="captions"))
    [example] = reader.read("train")
    assert (example.id, example.text, example.images) == ("a-1", "", ("train/0.png",))
    assert example.targets == {"A dog.": 1.0, "a cat": 1.0}
    assert example.annotation == {"captions": ["A dog.", "a cat"]}
    assert reader.image_path("train/0.png").is_file()


def test_each_metric_gets_the_annotation_that_it_reads(tmp_path: Path) -> None:
    several = row(answer=None, answers=["red", "red", "red", "dark red", "red"])
    [example] = read(tmp_path, [several], metric="vqa")
    assert example.targets == {"red": 1.0, "dark red": 0.3}
    assert example.annotation["answers"][3] == {"answer": "dark red", "answer_id": 4}
    for metric in ("accuracy", "anls", "token-f1"):
        [example] = read(tmp_path, [several], metric=metric)
        assert example.annotation == {"answers": several["answers"]}
    assert load_task(str(tmp_path / "colours.toml")).main_metric == "f1"
    [line] = faults(tmp_path, [row()], metric="vqa")
    assert line.startswith("data.jsonl: line 1: VQA accuracy") and "found 1." in line
    with pytest.raises(CardError, match="metric: 'nlvr2' reads official records"):
        read(tmp_path, [row()], metric="nlvr2")


def test_the_choices_of_a_record_stand_below_its_question_by_letters(tmp_path: Path) -> None:
    rows = [row(choices=["a cat", "a dog"]), row(choices=["a dog", "a cat"])]
    first, second = read(tmp_path, rows, choices=["A", "B"])
    assert first.text == "What is it?\nA. a cat\nB. a dog" and first.targets == {"B": 1.0}
    assert second.targets == {"A": 1.0}
    assert faults(tmp_path, [row(choices=["a cat"]), row(answer="A")], choices=["B"]) == [
        'data.jsonl: line 1: ["a dog"] should be one of \'choices\', ["a cat"]',
        'data.jsonl: line 2: "A" is none of the card\'s choices: B',
    ]


def test_a_conversation_of_several_turns_is_as_many_examples(tmp_path: Path) -> None:
    def turns(*values: str) -> list[Record]:
        roles = ["human", "gpt", "user", "assistant"]
        return [{"from": r, "value": v} for r, v in zip(roles, values, strict=False)]

    def write(*lines: Record) -> list[Example]:
        (tmp_path / "data.json").write_text(json.dumps(lines))
        files = everywhere("data.json")
        return reader_of(write_card(tmp_path, "llava", files)).read("train")

    both = write({"id": 7, "image": "0.png", "conversations": turns("<image>\nA?", "b", "C?", "d")})
    assert [(e.id, e.text, list(e.targets)) for e in both] == [
        ("7-1", "A?", ["b"]),
        ("7-2", "C?", ["d"]),
    ]
    with pytest.raises(DataError) as caught:
        write(
            {"image": "0.png", "conversations": turns("A?", "b")[::-1]},
            {"image": "0.png", "conversations": turns("<image><image>A?", "b")},
            {"image": "0.png", "conversations": turns("A?")},
            {"image": "0.png", "images": ["1.png"], "conversations": turns("A?", "b")},
        )
    expected = "'conversations' should be human, gpt and so on in turns"
    assert [line.partition(": ")[2] for line in str(caught.value).splitlines()] == [
        f"record number 1: {expected}, found gpt, human",
        "record number 2: 2 <image> in the text, and 1 pictures",
        f"record number 3: {expected}, found human",
        "record number 4: both 'image' and 'images'",
    ]


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (row(answer=3), "'answer' should be a string, found 3"),
        (row(answer=None, answers=["a", 3]), "'answers[1]' should be a string, found 3"),
        (row(answer=None, answers=[]), "'answers' is an empty list"),
        (row(answer=" "), "'answer' is empty"),
        (row(answer=None), "should have one of 'answer', 'answers' and 'captions', found none"),
        (row(captions=["a"]), "found 'answer' and 'captions'"),
        (row(image=None), "'image' is missing"),
        (row(images=["0.png"]), "both 'image' and 'images'"),
        (
            row(image=None, images=["0.png", "1.png"]),
            "2 pictures; the card says images_per_example",
        ),
        (row(image=""), "'image' is empty"),
        (row(question=["a"]), "'question' should be a string"),
        (row(question="\ud83d"), "'question' holds half a character"),
        (row(id=1.5), "'id' should be a string"),
        (row(id=""), "'id' is empty"),
        ([1], "should be an object, found [1]"),
        ("{", "not valid JSON"),
    ],
)
def test_a_faulty_record_is_named_with_its_line(tmp_path: Path, record: Any, text: str) -> None:
    [line] = faults(tmp_path, [row(), record])
    assert line.startswith("data.jsonl: line 2: ") and text in line


def test_an_id_that_comes_twice_is_named(tmp_path: Path) -> None:
    assert faults(tmp_path, [row(id="7"), row(id=7)]) == [
        "data.jsonl: line 2: the id '7' is there twice"
    ]


def test_of_10_000_faulty_lines_ten_and_the_count_are_listed(tmp_path: Path) -> None:
    lines = faults(tmp_path, [row(answer=None)] * 10_000)
    assert len(lines) == 11 and lines[9].startswith("data.jsonl: line 10: ")
    assert lines[10] == "... and 9,990 more: 10,000 faults in all"


def test_csv_has_a_line_for_each_fault_and_lists_with_bars(tmp_path: Path) -> None:
    card = write_card(tmp_path, "csv", everywhere("t.csv"), images_per_example=2)
    table = tmp_path / "t.csv"
    table.write_text('\ufeffimages, answer,note\r\n"0.png|1.png","red\nor not",\r\n', "utf-8")
    [example] = reader_of(card).read("train")
    assert example.images == ("0.png", "1.png") and example.targets == {"red\nor not": 1.0}
    table.write_text("images,answer\n0.png|1.png,red,blue\n0.png|1.png\n0.png|1.png,\n")
    with pytest.raises(DataError) as caught:
        reader_of(card).read("train")
    assert [line.partition("t.csv: ")[2] for line in str(caught.value).splitlines()] == [
        "line 2: more cells than the 2 columns",
        "line 3: fewer cells than the 2 columns",
        "line 4: should have one of 'answer', 'answers' and 'captions', found none",
    ]
    for text, message in {
        'images,answer\n0.png|1.png,"red\n': "not valid CSV in UTF-8: unexpected end of data",
        "images,answer,answer\n": "line 1: the column 'answer' is there twice",
        "images,answer\n": "no example of the split 'train'",
    }.items():
        table.write_text(text)
        with pytest.raises(DataError, match=message):
            reader_of(card).read("train")


def test_an_image_folder_may_have_a_table_and_captions_named_text(tmp_path: Path) -> None:
    card = write_card(tmp_path, "folder", everywhere("*"), metric="captions")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/metadata.csv").write_text("file_name,text\n0.png,A dog\n")
    [example] = reader_of(card).read("train")
    assert example.images == ("a/0.png",) and example.annotation == {"captions": ["A dog"]}
    (tmp_path / "a/metadata.jsonl").write_text("")
    with pytest.raises(DataError, match="holds both metadata"):
        reader_of(card).read("train")
    for name in ("metadata.csv", "metadata.jsonl"):
        (tmp_path / "a" / name).unlink()
    direct = write_card(tmp_path, "folder", everywhere("a/metadata.csv"))
    for path in (direct, write_card(tmp_path, "folder", everywhere("a"))):
        with pytest.raises(MissingError, match="a/metadata"):
            reader_of(path).read("train")


def test_an_empty_split_and_files_that_no_glob_matches_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n")
    files = {"train": ["a.jsonl"], "val": ["b*.jsonl"], "test": ["c.jsonl"]}
    reader = reader_of(write_card(tmp_path, "jsonl", files))
    with pytest.raises(DataError, match=r"a.jsonl: no example of the split 'train'"):
        reader.read("train")
    with pytest.raises(MissingError, match=r"b\*.jsonl"):
        reader.read("val")


def test_a_missing_picture_is_named_with_the_line_that_wants_it(tmp_path: Path) -> None:
    reader = reader_of(write_set(tmp_path / "set", "jsonl"))
    (tmp_path / "set/val/4.png").unlink()
    [text] = find_pictures(reader, indexed(reader, "val", train=False))[1].texts
    assert text.endswith(
        f"val/4.png: no such picture (wanted by {tmp_path}/set/val/data.jsonl: line 5)"
    )


# One file, split by a rule


def test_the_rule_puts_no_picture_into_two_splits_and_keeps_the_shares() -> None:
    images = [
        (f"{n % 70}.png", f"{(n * 7) % 70}.png") if n % 9 == 0 else (f"{n % 70}.png",)
        for n in range(400)
    ]
    parts = split_by_picture(images, 10, 20, seed=0)
    splits_of: dict[str, set[str]] = {}
    for own, part in zip(images, parts, strict=True):
        for image in own:
            splits_of.setdefault(image, set()).add(part)
    assert {len(splits) for splits in splits_of.values()} == {1}
    assert 70 <= parts.count("test") <= 80 and 30 <= parts.count("val") <= 40
    assert split_by_picture(images, 10, 20, seed=0) == parts
    assert split_by_picture(images, 10, 20, seed=1) != parts
    assert sorted(split_by_picture([("a",), ("b",), ("c",)], 1, 1, 0)) == ["test", "train", "val"]


def test_one_file_is_split_alike_in_every_format(tmp_path: Path) -> None:
    parts = []
    for name in FORMATS:
        folder = tmp_path / name
        write_set(folder, name)
        file = "train" if name == "folder" else f"train/{Path(NAMES_OF[name]).name}"
        rule = {"all": [file], "val_percent": 20, "test_percent": 20, "split_seed": 3}
        reader = reader_of(write_card(folder, name, rule))
        parts.append([[e.id for e in reader.read(split)] for split in SIZES])
    assert parts[1:] == parts[:1] * 3
    assert sorted(name for ids in parts[0] for name in ids) == sorted(
        record["id"] for record in records("train")
    )
    assert [len(ids) for ids in parts[0]] == [8, 2, 2]


NAMES_OF = {"jsonl": "data.jsonl", "llava": "data.json", "csv": "data.csv"}


# Cards


def test_where_the_data_lie_is_not_part_of_what_a_card_says(tmp_path: Path) -> None:
    cards = [load_task(str(write_set(tmp_path / name, "csv"))) for name in ("here", "there")]
    assert hashed(cards[0]) == hashed(cards[1])
    assert cards[0].files and cards[0].files.folder == str(tmp_path / "here")
    assert list(cards[0].splits) == ["full"] and hashed(load_task("vqav2"))["files"] is None


def test_another_card_for_the_same_files_reads_them_anew(tmp_path: Path) -> None:
    path = write_set(tmp_path / "set", "jsonl")
    assert indexed(reader_of(path), "val", False)[0].annotation == {"answers": ["red"]}
    write_set(tmp_path / "set", "jsonl", metric="captions")
    assert indexed(reader_of(path), "val", False)[0].annotation == {"captions": ["red"]}


@pytest.mark.parametrize(
    ("files", "keys", "text"),
    [
        ({"train": ["a"]}, {}, "files: Should name train, val and test, or all alone; found train"),
        ({"all": ["a"], "val": ["b"]}, {}, "found val, all."),
        ({}, {}, "found none of them."),
        ({"all": ["a"], "val_percent": 60, "test_percent": 40}, {}, "leave nothing to train on"),
        ({"all": "a"}, {}, 'files.all: Should be a valid array, found "a".'),
        ({"trian": ["a"]}, {}, "Unknown key 'trian'. Did you mean 'train'?"),
        (
            {"all": ["a"]},
            {"reader": "jsonll"},
            "reader: 'jsonll' reads no [files]. Did you mean 'jsonl'?",
        ),
        ({"all": ["a"]}, {"reader": "coco"}, "Known: csv, folder, jsonl, llava."),
    ],
)
def test_a_faulty_card_is_refused(tmp_path: Path, files: Any, keys: Any, text: str) -> None:
    path = write_card(tmp_path, files=files, **{"reader": "jsonl", **keys})
    with pytest.raises(CardError) as caught:
        reader_of(path)
    assert text in str(caught.value) and str(caught.value).startswith(f"{path}: ")


def test_a_card_without_files_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'title = "M"\nreader = "csv"\nmetric = "accuracy"\n'
        '[splits.full]\ntrain = ["train"]\nval = ["val"]\ntest = ["test"]\n'
    )
    with pytest.raises(CardError, match=r"mine.toml: files: Missing. \[files\] names the data"):
        card_reader(load_task(str(path)), tmp_path)
    with pytest.raises(CardError, match=r"files: Missing"):
        load_reader("csv", tmp_path)
    path.write_text(path.read_text().replace('"csv"', '"cvs"'))
    with pytest.raises(CardError, match=r"mine.toml: reader: Unknown reader 'cvs'. Did you mean"):
        card_reader(load_task(str(path)), tmp_path)
