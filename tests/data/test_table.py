from __future__ import annotations

import pickle
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlbench.data import table as table_module
from vlbench.data.example import Example
from vlbench.data.table import ExampleTable, concatenate, limited, write_examples
from vlbench.errors import DataError, MissingError


def made(start: int, count: int) -> list[Example]:
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


EXAMPLES = made(0, 50)


def written(path: Path, examples: list[Example]) -> ExampleTable:
    write_examples(path, examples)
    return ExampleTable.open(path)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "BATCH_ROWS", 8)
    monkeypatch.setattr(table_module, "AT_A_TIME", 11)


@pytest.fixture
def table(tmp_path: Path, small_batches: None) -> ExampleTable:
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
    found = table[part]
    assert isinstance(found, ExampleTable)
    assert list(found) == EXAMPLES[part]
    assert list(found[1:]) == EXAMPLES[part][1:]


def test_any_choice_in_any_order_is_a_table(table: ExampleTable) -> None:
    places = random.Random(0).choices(range(-50, 50), k=120)
    found = table.take(places)
    assert list(found) == [EXAMPLES[place] for place in places]
    assert found[5] == EXAMPLES[places[5]]
    assert list(found[10:30].take([3, 1])) == [EXAMPLES[places[13]], EXAMPLES[places[11]]]
    assert list(table.take([])) == []


@pytest.mark.parametrize("places", [range(50), [], [49, 3, 3, 4, 17, 16, 0], range(9, 30)])
def test_columns_tell_what_the_examples_would(table: ExampleTable, places: range) -> None:
    part = table.take(places)
    examples = [EXAMPLES[place] for place in places]
    assert part.images() == list(dict.fromkeys(i for each in examples for i in each.images))
    assert part.image_counts().tolist() == [len(each.images) for each in examples]
    assert part.families() == [each.family for each in examples]


def test_tables_can_be_put_together(table: ExampleTable, tmp_path: Path) -> None:
    more = made(50, 20)
    other = written(tmp_path / "y.arrow", more)
    nothing = written(tmp_path / "z.arrow", [])
    assert list(concatenate([table, nothing, other])) == EXAMPLES + more
    parts = [other[5:], table.take([9, 2]), nothing, other, table[::-1]]
    given = [*more[5:], EXAMPLES[9], EXAMPLES[2], *more, *EXAMPLES[::-1]]
    together = concatenate(parts)
    assert list(together) == given
    assert list(together[3:40]) == given[3:40]
    assert together.families() == [each.family for each in given]
    assert concatenate([table[3:5], nothing]).images() == table[3:5].images()
    assert list(concatenate([])) == list(nothing) == nothing.images() == []


def test_a_table_is_pickled_by_its_path(table: ExampleTable, tmp_path: Path) -> None:
    kept = pickle.dumps(table)
    assert len(kept) < 500
    assert list(pickle.loads(kept)) == EXAMPLES
    assert list(pickle.loads(pickle.dumps(table.take([4, 2])))) == [EXAMPLES[4], EXAMPLES[2]]
    (tmp_path / "x.arrow").unlink()
    with pytest.raises(MissingError, match=r"x\.arrow: no such file"):
        pickle.loads(kept)


def test_an_open_table_stays_what_it_was_when_its_file_is_replaced(
    table: ExampleTable, tmp_path: Path
) -> None:
    write_examples(tmp_path / "x.arrow", made(100, 3))
    assert list(table) == EXAMPLES


@pytest.mark.parametrize("kept", [0, 5, 100, -1, -100])
def test_half_a_file_is_refused(table: ExampleTable, tmp_path: Path, kept: int) -> None:
    half = tmp_path / "half.arrow"
    half.write_bytes((tmp_path / "x.arrow").read_bytes()[:kept])
    with pytest.raises(DataError, match=r"half\.arrow: damaged"):
        ExampleTable.open(half)


def test_damage_that_is_found_later_names_the_file(table: ExampleTable, tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt.arrow"
    contents = (tmp_path / "x.arrow").read_bytes()
    spoilt.write_bytes(contents.replace(b'{"n":5}', b'{"n":\xff}'))
    with pytest.raises(DataError, match=r"spoilt\.arrow: damaged. Remove it"):
        list(ExampleTable.open(spoilt))


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


def again(path: Path, examples: list[Example]) -> list[Example]:
    write_examples(path, examples)
    return list(ExampleTable.open(path))


@pytest.mark.parametrize("changes", ODD, ids=lambda changes: next(iter(changes)))
def test_every_field_comes_back_as_it_was(changes: dict[str, Any], tmp_path: Path) -> None:
    given = example(**changes)
    [found] = again(tmp_path / "x.arrow", [given])
    assert found == given
    assert repr(found) == repr(given)  # the order of keys, whole numbers, types


def test_a_context_that_many_share_is_kept_once(tmp_path: Path) -> None:
    spoken = ["one " * 1000, "", "two", "one " * 1000, "", "two"] * 50
    given = [example(str(n), context=text) for n, text in enumerate(spoken)]
    assert again(tmp_path / "x.arrow", given) == given
    [batch] = ExampleTable.open(tmp_path / "x.arrow")._files.batches
    kept = batch.column("context").to_pylist()
    assert [text for text in kept if text] == ["one " * 1000, "two"]


def test_a_context_is_found_in_an_earlier_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "BATCH_ROWS", 3)
    given = [example(str(n), context=f"clip {n % 4}") for n in range(10)]
    assert again(tmp_path / "x.arrow", given) == given


def test_examples_are_written_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "BATCH_ROWS", 10)
    asked: list[int] = []
    written: list[int] = []
    make = table_module._record_batch

    def counted(examples: list[Example], *rest: Any) -> Any:
        written.append(asked[-1] + 1)
        return make(examples, *rest)

    def examples() -> Iterator[Example]:
        for number in range(25):
            asked.append(number)
            yield example(str(number))

    monkeypatch.setattr(table_module, "_record_batch", counted)
    write_examples(tmp_path / "x.arrow", examples())
    assert written == [10, 20, 25]
    assert len(ExampleTable.open(tmp_path / "x.arrow")) == 25


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"annotation": {"a": (1, 2)}}, r"Example 7: its annotation \{\"a\": \[1, 2\]\} is no"),
        ({"annotation": {1: "a"}}, r"Example 7: .* objects with texts as keys"),
        ({"annotation": {"a": {1}}}, "Example 7: .* cannot be kept as JSON: .* set"),
        ({"text": "half \ud800"}, "examples 7 to 7 has .* half a character"),
        ({"text": 3}, "examples 7 to 7 has a field of another type"),
    ],
)
def test_what_would_not_come_back_is_refused(
    changes: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=told):
        write_examples(tmp_path / "x.arrow", [example("7", **changes)])
    assert not list(tmp_path.iterdir())


FAMILIES = ["colour"] * 60 + ["count"] * 30 + ["yes/no"] * 10
FAMILIAR = [
    Example(id=str(n), text="", images=(), targets={}, annotation={}, family=family)
    for n, family in enumerate(FAMILIES)
]


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> ExampleTable:
    file = tmp_path_factory.mktemp("limit") / "examples.arrow"
    write_examples(file, FAMILIAR)
    return ExampleTable.open(file)


@pytest.mark.parametrize("limit", [1, 2, 7, 10, 50, 99])
def test_there_are_exactly_as_many_as_asked_for(families: ExampleTable, limit: int) -> None:
    found = limited(families, limit)
    assert len(found) == len({example.id for example in found}) == limit


@pytest.mark.parametrize("limit", [None, 100, 1000])
def test_a_limit_that_does_not_bite_leaves_all(families: ExampleTable, limit: int | None) -> None:
    assert list(limited(families, limit)) == FAMILIAR


@pytest.mark.parametrize("limit", [10, 20, 50])
def test_families_keep_their_shares(families: ExampleTable, limit: int) -> None:
    counts = Counter(example.family for example in limited(families, limit))
    assert counts == {"colour": limit * 0.6, "count": limit * 0.3, "yes/no": limit * 0.1}


def test_the_sample_is_the_same_every_time_and_in_the_old_order(families: ExampleTable) -> None:
    found = list(limited(families, 20))
    assert found == list(limited(families, 20))
    assert [int(example.id) for example in found] == sorted(int(example.id) for example in found)


def test_a_smaller_sample_is_part_of_a_larger_one(families: ExampleTable) -> None:
    assert {e.id for e in limited(families, 10)} <= {e.id for e in limited(families, 50)}
