"""Tables of examples: what they hold, how they are cached, the sample of a limit, fingerprints."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.data.conftest import Root
from vlbench.data import table as module
from vlbench.data.example import Example
from vlbench.data.hashes import fingerprint
from vlbench.data.readers import load_reader
from vlbench.data.readers.base import Reader
from vlbench.data.table import (
    ExampleTable,
    concatenate,
    indexed,
    limited,
    read_examples,
    write_examples,
)
from vlbench.errors import DataError, MissingError, UsageError


def numbered(start: int, count: int) -> list[Example]:
    return [
        Example(
            id=str(n),
            text=f"text {n}",
            images=tuple(f"p{(n * k) % 7}" for k in range(1, 2 + n % 3)),
            targets={f"a{n}": 0.3, "yes": 0.9},
            annotation={"n": n} if n % 2 else {},
            family=f"kind {n % 3}",
            context=f"clip {n // 5}" if n % 4 else "",
        )
        for n in range(start, start + count)
    ]


EXAMPLES = numbered(0, 50)


def written(path: Path, examples: list[Example]) -> ExampleTable:
    write_examples(path, examples)
    return read_examples(path)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExampleTable:
    """Fifty examples."""
    monkeypatch.setattr(module, "AT_A_TIME", 11)
    return written(tmp_path / "x.arrow", EXAMPLES)


def test_a_table_is_a_sequence_of_its_examples_and_any_choice_of_them_is_one(
    table: ExampleTable,
) -> None:
    assert len(table) == 50
    assert list(table) == EXAMPLES
    assert [table[n] for n in range(-50, 50)] == EXAMPLES * 2
    assert list(reversed(table)) == EXAMPLES[::-1]
    for beyond in (50, -51):
        with pytest.raises(IndexError):
            table[beyond]
    for part in (slice(3, 20), slice(0, 0), slice(-5, None), slice(40, 2, -3)):
        assert list(table[part]) == EXAMPLES[part]
    rows = random.Random(0).choices(range(-50, 50), k=120)
    chosen = table.take(rows)
    assert list(chosen) == [EXAMPLES[row] for row in rows]
    assert list(chosen[10:30].take([3, 1])) == [EXAMPLES[rows[13]], EXAMPLES[rows[11]]]
    assert list(table.take([])) == []
    assert chosen.images() == list(dict.fromkeys(i for e in chosen for i in e.images))
    assert chosen.families() == [EXAMPLES[row].family for row in rows]


def test_tables_can_be_put_together(table: ExampleTable, tmp_path: Path) -> None:
    more = numbered(50, 20)
    other = written(tmp_path / "y.arrow", more)
    nothing = written(tmp_path / "z.arrow", [])
    assert list(concatenate([table, nothing, other])) == EXAMPLES + more
    parts = [other[5:], table.take([9, 2]), nothing, other, table[::-1]]
    given = [*more[5:], EXAMPLES[9], EXAMPLES[2], *more, *EXAMPLES[::-1]]
    together = concatenate(parts)
    assert list(together) == given
    assert list(together[3:40]) == given[3:40]
    assert together.families() == [example.family for example in given]
    assert concatenate([table[3:5], nothing]).images() == table[3:5].images()
    assert list(concatenate([])) == list(nothing) == nothing.images() == []


ODD: list[dict[str, Any]] = [
    {"text": "¿Qué? \u2028 \x00 \U0001f600"},
    {"images": ()},
    {"images": ("b", "a", "b")},
    {"targets": {"z": 0.1 + 0.2, "": 1.0, "A ": 1e-300}},
    {"annotation": {"z": [1, 1.0, 2**70, 0.1], "a": {"b": None, "ü": True}, "half": "\ud800"}},
    {"family": "how many"},
    {"context": "[Subs] hello"},
]


def example(name: str = "1", **changes: Any) -> Example:
    fields = {"text": "Why?", "images": ("a",), "targets": {"yes": 1.0}, **changes}
    return Example(id=name, **fields)


def test_every_field_comes_back_as_it_was_or_is_refused(tmp_path: Path) -> None:
    given = [example(**changes) for changes in ODD]
    given += [example(context=text) for text in ("one " * 1000, "two", "one " * 1000) * 50]
    read = list(written(tmp_path / "x.arrow", given))
    assert read == given
    assert repr(read) == repr(given)  # the order of keys, whole numbers, types
    assert (tmp_path / "x.arrow").read_bytes().count(b"one one") < 1100  # kept once
    for changes in ({"annotation": {"a": {1}}}, {"text": "\ud800"}, {"text": 3}):
        with pytest.raises(DataError, match=r"y\.arrow: an example has a field of another type"):
            write_examples(tmp_path / "y.arrow", [example("7", **changes)])


FAMILIAR = [
    Example(id=str(n), text="", images=(), targets={}, annotation={}, family=family)
    for n, family in enumerate(["colour"] * 60 + ["count"] * 30 + ["yes/no"] * 10)
]


@pytest.mark.parametrize("limit", [1, 7, 10, 50, 99])
def test_a_limit_keeps_the_shares_of_families_and_the_order(limit: int, tmp_path: Path) -> None:
    families = written(tmp_path / "examples.arrow", FAMILIAR)
    sample = list(limited(families, limit))
    assert sample == list(limited(families, limit)) and len(sample) == limit
    assert [int(e.id) for e in sample] == sorted({int(e.id) for e in sample})
    assert {e.id for e in sample} <= {e.id for e in limited(families, limit + 20)}
    if limit % 10 == 0:
        counts = Counter(example.family for example in sample)
        assert counts == {"colour": limit * 0.6, "count": limit * 0.3, "yes/no": limit * 0.1}
    names = " ".join(example.id for example in limited(families, 20))
    assert hashlib.sha256(names.encode()).hexdigest()[:16] == "4dc4b2b879d08465"  # of stored runs
    for more in (None, 100, 1000):
        assert list(limited(families, more)) == FAMILIAR


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The splits that readers read, as they do it."""
    splits: list[str] = []
    read = Reader.read

    def counted(self: Reader, split: str, for_training: bool = False) -> list[Example]:
        splits.append(split)
        return read(self, split, for_training)

    monkeypatch.setattr(Reader, "read", counted)
    return splits


@pytest.mark.parametrize("name", ["vqav2", "gqa", "nlvr2", "coco", "tvqa", "how2qa", "tvc", "yc2c"])
def test_an_index_gives_what_the_reader_reads(name: str, tiny: Path, tiny_video: Path) -> None:
    reader = load_reader(name, tiny if name in ("vqav2", "gqa", "nlvr2", "coco") else tiny_video)
    splits = [split for split in reader.splits if not reader.missing_files(split)]
    assert len(splits) >= 3
    for split in splits:
        examples = reader.read(split)
        for _ in range(2):
            table = list(indexed(reader, split, False))
            assert table == examples
            assert repr([e.annotation for e in table]) == repr([e.annotation for e in examples])
            assert repr([e.targets for e in table]) == repr([e.targets for e in examples])
    assert list(indexed(reader, "train", True)) == reader.read("train", True)


def test_a_split_is_read_once_until_its_files_or_the_code_change(
    vqa: Root, reads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        indexed(load_reader("vqav2", vqa.folder), "val", False)
    assert reads == ["val"]
    indexed(load_reader("vqav2", vqa.folder), "val", True)
    indexed(load_reader("vqav2", vqa.folder), "test", False)
    assert reads == ["val", "val", "test"]
    moved = Root(vqa.folder.rename(tmp_path / "moved"))
    reader = load_reader("vqav2", moved.folder)
    indexed(reader, "val", False)
    assert len(reads) == 3

    def change(table: dict[str, list[dict[str, object]]]) -> None:
        for record in table["questions"]:
            record["question"] = "Changed?"

    moved.edit("vqa/v2_OpenEnded_mscoco_val2014_questions.json", change)
    assert {example.text for example in indexed(reader, "val", False)} == {"Changed?"}
    monkeypatch.setattr(module, "_code", lambda kind: "changed")
    indexed(reader, "val", False)
    assert len(reads) == 5


def test_a_damaged_index_is_made_again(vqa: Root, cache: Path) -> None:
    reader = load_reader("vqav2", vqa.folder)
    before = list(indexed(reader, "val", False))
    [file] = (cache / "index").iterdir()
    whole = file.read_bytes()
    for spoilt in (whole[: len(whole) // 2], b"", b"?" * 99):
        file.unlink()
        file.write_bytes(spoilt)
        assert list(indexed(reader, "val", False)) == before
        assert file.read_bytes() == whole


def test_faults_are_those_that_the_reader_raises_and_nothing_is_kept(
    vqa: Root, cache: Path
) -> None:
    name = "vqa/v2_mscoco_val2014_annotations.json"
    file = vqa.edit(name, lambda table: table["annotations"][0].pop("answers"))
    reader = load_reader("vqav2", vqa.folder)
    for kind in (DataError, MissingError):
        with pytest.raises(kind) as of_reader:
            reader.read("val")
        with pytest.raises(kind) as of_index:
            indexed(reader, "val", False)
        assert str(of_index.value) == str(of_reader.value)
        file.unlink(missing_ok=True)
    with pytest.raises(UsageError, match="has no split 'valid'"):
        indexed(reader, "valid", False)
    assert not (cache / "index").exists()


def test_what_depends_on_more_than_the_files_is_read_each_time(
    nlvr: Root, nlvr2: Root, reads: list[str]
) -> None:
    for _ in range(2):
        table = indexed(load_reader("nlvr", nlvr.folder), "train", True)
        assert list(table) == load_reader("nlvr", nlvr.folder).read("train", True)
        reader = load_reader("nlvr2", nlvr2.folder)
        for image in indexed(reader, "train", True).images():
            assert reader.image_path(image).parent.name == "38"
    assert len(reads) == 5


def test_a_fingerprint_is_of_names_and_contents(tmp_path: Path) -> None:
    files = [tmp_path / "x" / name for name in ("a.json", "sub/b.json")]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    before = fingerprint(files)
    assert before[:16] == "d26c3191263560ca"
    assert (
        before == fingerprint([files[1], files[0], files[0]]) == fingerprint(files, tmp_path / "x")
    )
    assert before != fingerprint(files, tmp_path)
    (tmp_path / "x").rename(tmp_path / "y")
    moved = [tmp_path / "y" / path.relative_to(tmp_path / "x") for path in files]
    assert before == fingerprint(moved)
    moved[0].write_text("b.json")
    assert fingerprint(moved) != before
    moved[0].unlink()
    with pytest.raises(MissingError, match=r"a\.json: no such file"):
        fingerprint(moved)
