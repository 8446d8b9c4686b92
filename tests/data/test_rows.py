from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vlbench.data import table as rows
from vlbench.data.example import Example
from vlbench.data.table import ExampleTable, write_examples
from vlbench.errors import DataError

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
    monkeypatch.setattr(rows, "BATCH_ROWS", 3)
    given = [example(str(n), context=f"clip {n % 4}") for n in range(10)]
    assert again(tmp_path / "x.arrow", given) == given


def test_examples_are_written_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "BATCH_ROWS", 10)
    asked: list[int] = []
    written: list[int] = []
    make = rows._record_batch

    def counted(examples: list[Example], *rest: Any) -> Any:
        written.append(asked[-1] + 1)
        return make(examples, *rest)

    def examples() -> Iterator[Example]:
        for number in range(25):
            asked.append(number)
            yield example(str(number))

    monkeypatch.setattr(rows, "_record_batch", counted)
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
