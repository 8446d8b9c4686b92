from __future__ import annotations

import pickle
import random
from pathlib import Path

import numpy as np
import pytest

from vlbench.data import table as rows
from vlbench.data.example import Example
from vlbench.data.table import ExampleTable, concatenate, write_examples
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


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "BATCH_ROWS", 8)
    monkeypatch.setattr("vlbench.data.table.AT_A_TIME", 11)


@pytest.fixture
def table(tmp_path: Path) -> ExampleTable:
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
