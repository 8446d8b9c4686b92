"""`--limit` draws a small sample that looks like the whole."""

from __future__ import annotations

from collections import Counter

import pytest

from vlbench.data.example import Example
from vlbench.data.table import ExampleTable, limited, write_examples

FAMILIES = ["colour"] * 60 + ["count"] * 30 + ["yes/no"] * 10
EXAMPLES = [
    Example(id=str(n), text="", images=(), targets={}, annotation={}, family=family)
    for n, family in enumerate(FAMILIES)
]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> ExampleTable:
    file = tmp_path_factory.mktemp("limit") / "examples.arrow"
    write_examples(file, EXAMPLES)
    return ExampleTable.open(file)


@pytest.mark.parametrize("limit", [1, 2, 7, 10, 50, 99])
def test_there_are_exactly_as_many_as_asked_for(table: ExampleTable, limit: int) -> None:
    found = limited(table, limit)
    assert len(found) == len({example.id for example in found}) == limit


@pytest.mark.parametrize("limit", [None, 100, 1000])
def test_a_limit_that_does_not_bite_leaves_all(table: ExampleTable, limit: int | None) -> None:
    assert list(limited(table, limit)) == EXAMPLES


@pytest.mark.parametrize("limit", [10, 20, 50])
def test_families_keep_their_shares(table: ExampleTable, limit: int) -> None:
    counts = Counter(example.family for example in limited(table, limit))
    assert counts == {"colour": limit * 0.6, "count": limit * 0.3, "yes/no": limit * 0.1}


def test_the_sample_is_the_same_every_time_and_in_the_old_order(table: ExampleTable) -> None:
    found = list(limited(table, 20))
    assert found == list(limited(table, 20))
    assert [int(example.id) for example in found] == sorted(int(example.id) for example in found)


def test_a_smaller_sample_is_part_of_a_larger_one(table: ExampleTable) -> None:
    assert {e.id for e in limited(table, 10)} <= {e.id for e in limited(table, 50)}
