"""Tables of examples: what they hold, how they are cached, the sample of a limit, fingerprints."""

from __future__ import annotations

import hashlib
import importlib
import multiprocessing
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.conftest import Root
from vlbench.data import table as module
from vlbench.data.example import Example
from vlbench.data.readers import load_reader
from vlbench.data.readers.base import Reader
from vlbench.data.table import (
    ExampleTable,
    concatenate,
    file_hash,
    fingerprint,
    indexed,
    limited,
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
    return ExampleTable(path)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExampleTable:
    """Fifty examples in small batches."""
    monkeypatch.setattr(module, "BATCH_ROWS", 8)
    monkeypatch.setattr(module, "AT_A_TIME", 11)
    return written(tmp_path / "x.arrow", EXAMPLES)


def test_a_table_is_a_sequence_of_its_examples(table: ExampleTable) -> None:
    assert len(table) == 50
    assert list(table) == EXAMPLES
    assert [table[n] for n in range(-50, 50)] == EXAMPLES * 2
    assert table[np.int64(7)] == EXAMPLES[7]
    assert list(reversed(table)) == EXAMPLES[::-1]
    for beyond in (50, -51):
        with pytest.raises(IndexError):
            table[beyond]


@pytest.mark.parametrize(
    "part", [slice(3, 20), slice(0, 0), slice(-5, None), slice(None, None, 7), slice(40, 2, -3)]
)
def test_a_slice_is_a_table(table: ExampleTable, part: slice) -> None:
    assert isinstance(table[part], ExampleTable)
    assert list(table[part]) == EXAMPLES[part]
    assert list(table[part][1:]) == EXAMPLES[part][1:]


def test_any_choice_in_any_order_is_a_table(table: ExampleTable) -> None:
    rows = random.Random(0).choices(range(-50, 50), k=120)
    chosen = table.take(rows)
    assert list(chosen) == [EXAMPLES[row] for row in rows]
    assert chosen[5] == EXAMPLES[rows[5]]
    assert list(chosen[10:30].take([3, 1])) == [EXAMPLES[rows[13]], EXAMPLES[rows[11]]]
    assert list(table.take([])) == []


@pytest.mark.parametrize("rows", [range(50), [], [49, 3, 3, 4, 17, 16, 0]])
def test_columns_hold_what_the_examples_do(table: ExampleTable, rows: range) -> None:
    part = table.take(rows)
    examples = [EXAMPLES[row] for row in rows]
    assert part.images() == list(dict.fromkeys(i for e in examples for i in e.images))
    assert part.image_counts().tolist() == [len(example.images) for example in examples]
    assert part.families() == [example.family for example in examples]


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


def test_an_open_table_stays_what_it_was_when_its_file_is_replaced(
    table: ExampleTable, tmp_path: Path
) -> None:
    write_examples(tmp_path / "x.arrow", numbered(100, 3))
    assert list(table) == EXAMPLES
    (tmp_path / "x.arrow").unlink()
    with pytest.raises(MissingError, match=r"x\.arrow: no such file"):
        ExampleTable(tmp_path / "x.arrow")


@pytest.mark.parametrize("kept", [0, 5, 100, -1, -100])
def test_half_a_file_is_refused(table: ExampleTable, tmp_path: Path, kept: int) -> None:
    half = tmp_path / "half.arrow"
    half.write_bytes((tmp_path / "x.arrow").read_bytes()[:kept])
    with pytest.raises(DataError, match=r"half\.arrow: damaged"):
        ExampleTable(half)


def test_damage_that_is_found_later_names_the_file(table: ExampleTable, tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt.arrow"
    contents = (tmp_path / "x.arrow").read_bytes()
    spoilt.write_bytes(contents.replace(b'{"n":5}', b'{"n":\xff}'))
    with pytest.raises(DataError, match=r"spoilt\.arrow: damaged. Remove it"):
        list(ExampleTable(spoilt))


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


@pytest.mark.parametrize("changes", ODD, ids=lambda changes: next(iter(changes)))
def test_every_field_comes_back_as_it_was(changes: dict[str, Any], tmp_path: Path) -> None:
    given = example(**changes)
    [read] = written(tmp_path / "x.arrow", [given])
    assert read == given
    assert repr(read) == repr(given)  # the order of keys, whole numbers, types


def test_a_context_that_many_share_is_kept_once_and_found_in_an_earlier_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 7)
    contexts = ["one " * 1000, "", "two", "one " * 1000, "", "two"] * 50
    given = [example(str(n), context=text) for n, text in enumerate(contexts)]
    assert list(written(tmp_path / "x.arrow", given)) == given
    assert (tmp_path / "x.arrow").read_bytes().count(b"one one") < 1100


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"annotation": {"a": (1, 2)}}, r"Example 7: its annotation \{\"a\": \[1, 2\]\} is no"),
        ({"annotation": {1: "a"}}, r"Example 7: .* objects with texts as keys"),
        ({"annotation": {"a": {1}}}, "Example 7: .* cannot be kept as JSON: .* set"),
        ({"text": "half \ud800"}, "examples 7 to 7 has .* half a character"),
        ({"text": 3}, "examples 7 to 7 has a field of another type"),
    ],
)
def test_what_would_not_come_back_is_refused(
    changes: dict[str, Any], fault: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=fault):
        write_examples(tmp_path / "x.arrow", [example("7", **changes)])
    assert not list(tmp_path.iterdir())


FAMILIAR = [
    Example(id=str(n), text="", images=(), targets={}, annotation={}, family=family)
    for n, family in enumerate(["colour"] * 60 + ["count"] * 30 + ["yes/no"] * 10)
]


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> ExampleTable:
    return written(tmp_path_factory.mktemp("limit") / "examples.arrow", FAMILIAR)


@pytest.mark.parametrize("limit", [1, 7, 10, 20, 50, 99])
def test_a_limit_keeps_the_shares_of_families_and_the_order(
    families: ExampleTable, limit: int
) -> None:
    sample = list(limited(families, limit))
    assert sample == list(limited(families, limit)) and len(sample) == limit
    assert [int(e.id) for e in sample] == sorted({int(e.id) for e in sample})
    assert {e.id for e in sample} <= {e.id for e in limited(families, limit + 20)}
    if limit % 10 == 0:
        counts = Counter(example.family for example in sample)
        assert counts == {"colour": limit * 0.6, "count": limit * 0.3, "yes/no": limit * 0.1}


def test_the_sample_is_the_one_that_stored_runs_read(families: ExampleTable) -> None:
    names = " ".join(example.id for example in limited(families, 20))
    assert hashlib.sha256(names.encode()).hexdigest()[:16] == "4dc4b2b879d08465"
    for limit in (None, 100, 1000):
        assert list(limited(families, limit)) == FAMILIAR


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The splits that readers read, as they do it."""
    splits: list[str] = []
    read = Reader.read

    def counted(self: Reader, split: str, *rest: object) -> list[Example]:
        splits.append(split)
        return read(self, split, *rest)

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


def test_a_split_is_read_once_wherever_its_files_lie(
    vqa: Root, reads: list[str], tmp_path: Path
) -> None:
    for _ in range(2):
        indexed(load_reader("vqav2", vqa.folder), "val", False)
    assert reads == ["val"]
    indexed(load_reader("vqav2", vqa.folder), "val", True)
    indexed(load_reader("vqav2", vqa.folder), "test", False)
    assert reads == ["val", "val", "test"]
    indexed(load_reader("vqav2", vqa.folder.rename(tmp_path / "moved")), "val", False)
    assert len(reads) == 3


def test_changed_files_and_changed_code_are_read_anew(
    vqa: Root, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = load_reader("vqav2", vqa.folder)
    indexed(reader, "val", False)

    def change(table: dict[str, list[dict[str, object]]]) -> None:
        for record in table["questions"]:
            record["question"] = "Changed?"

    vqa.edit("vqa/v2_OpenEnded_mscoco_val2014_questions.json", change)
    assert {example.text for example in indexed(reader, "val", False)} == {"Changed?"}
    vqa.write("vqa/trainval_ans2label.json", {"blue": 0})
    assert {answer for e in indexed(reader, "val", False) for answer in e.targets} == {"blue"}
    monkeypatch.setattr(module, "_code", lambda kind: "changed")
    indexed(reader, "val", False)
    assert reads == ["val"] * 4


OUTSIDE = """
from vlbench.data.example import Example
from vlbench.data.readers.base import Reader

class Mine(Reader):
    splits = ("train",)
    def files(self, split):
        return [self.root / "lines.txt"]
    def examples(self, split, faults):
        lines = self.files(split)[0].read_text().splitlines()
        return [Example(line, "TEXT", (line,), {}) for line in lines]
    def image_path(self, image_id):
        return self.root
"""


def test_a_reader_from_elsewhere_is_indexed_by_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lines.txt").write_text("a\nb\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for text in ("first", "second"):
        (tmp_path / "mine.py").write_text(OUTSIDE.replace("TEXT", text))
        importlib.invalidate_caches()
        reader = load_reader("mine:Mine", tmp_path)
        assert [example.text for example in indexed(reader, "train", False)] == [text, text]
        del sys.modules["mine"]


def test_opening_again_imports_neither_torch_nor_pandas(vqa: Root) -> None:
    indexed(load_reader("vqav2", vqa.folder), "train", True)
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from vlbench.data.table import indexed\nfrom vlbench.data.readers import load_reader\n"
        "table = indexed(load_reader('vqav2', Path(sys.argv[1])), 'train', True)\n"
        "assert table.images() and list(table.take([2, 0])) and table.families()\n"
        "assert len(table.image_counts()) == len(table)\n"
        "assert not {'torch', 'pandas'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(vqa.folder)], check=True, timeout=60)


@pytest.mark.parametrize("spoil", ["half", "empty", "other"])
def test_a_damaged_index_is_made_again(spoil: str, vqa: Root, cache: Path) -> None:
    reader = load_reader("vqav2", vqa.folder)
    before = list(indexed(reader, "val", False))
    [file] = (cache / "index").iterdir()
    whole = file.read_bytes()
    file.unlink()
    file.write_bytes({"half": whole[: len(whole) // 2], "empty": b"", "other": b"?" * 99}[spoil])
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


def test_a_file_that_changes_while_it_is_read_is_refused(
    gqa: Root, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = load_reader("gqa", gqa.folder)
    read = reader.read

    def changed(split: str, for_training: bool) -> list[Example]:
        examples = read(split, for_training)
        gqa.edit("GQA/val_balanced_questions.json", lambda table: table.pop("7"))
        return examples

    monkeypatch.setattr(reader, "read", changed)
    with pytest.raises(DataError, match=r"val_balanced_questions\.json: changed while being read"):
        indexed(reader, "val", False)
    assert not (cache / "index").exists()


def test_what_depends_on_more_than_the_files_is_read_each_time(
    nlvr: Root, reads: list[str]
) -> None:
    for _ in range(2):
        table = indexed(load_reader("nlvr", nlvr.folder), "train", True)
        assert list(table) == load_reader("nlvr", nlvr.folder).read("train", True)
    assert reads == ["train"] * 4


def test_pictures_in_sub_folders_are_found_after_an_index(nlvr2: Root) -> None:
    for _ in range(2):
        reader = load_reader("nlvr2", nlvr2.folder)
        for image in indexed(reader, "train", True).images():
            assert reader.image_path(image).parent.name == "38"
        assert reader._directories  # type: ignore[attr-defined]  # and not by looking everywhere


def test_a_cache_that_cannot_be_written_is_named(vqa: Root, cache: Path) -> None:
    cache.mkdir()
    (cache / "index").write_text("no folder")
    with pytest.raises(MissingError, match=r"cache/index.* cannot be written. VLBENCH_CACHE names"):
        indexed(load_reader("vqav2", vqa.folder), "val", False)


def _open(folder: Path) -> list[Example]:
    return list(indexed(load_reader("vqav2", folder), "train", True))


def test_processes_may_write_and_read_one_index_at_once(vqa: Root, cache: Path) -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        tables = pool.map(_open, [vqa.folder] * 4)
    assert tables == [load_reader("vqav2", vqa.folder).read("train", True)] * 4
    assert len(list((cache / "index").iterdir())) == 1


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "x" / name for name in ("a.json", "sub/b.json")]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    return paths


def test_a_fingerprint_is_of_names_and_contents_and_not_of_order_and_folder(
    files: list[Path], tmp_path: Path
) -> None:
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
    moved[0].write_text("a.json")
    assert fingerprint(moved) == before
    assert fingerprint([moved[0].rename(moved[0].with_name("c.json")), moved[1]]) != before
    with pytest.raises(MissingError, match=r"a\.json: no such file"):
        fingerprint(moved)


def test_big_files_are_hashed_once(files: list[Path], cache: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "REMEMBERED_FROM", 0)
    before = file_hash(files[0])
    [note] = (cache / "hashes").iterdir()
    note.write_text("remembered")
    assert file_hash(files[0]) == "remembered"
    os.utime(files[0], ns=(1, 1))
    assert file_hash(files[0]) == before
