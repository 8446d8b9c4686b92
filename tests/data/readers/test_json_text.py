"""Lists and objects of records, read without the whole file."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from vlbench.data.readers import json_text
from vlbench.data.readers.json_text import read_list, read_table
from vlbench.errors import DataError

RECORDS = [{"id": 1, "text": 'a "b" \\ é ]}'}, 12345, -1.5e3, "x,y", None, True, [[], {}], {}]


@pytest.fixture(params=[1, 2, 7, 1 << 22])
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(json_text, "PIECE", request.param)
    return int(request.param)


def written(folder: Path, text: str) -> Path:
    path = folder / "file.json"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_every_value_is_what_json_says_wherever_the_pieces_end(
    tmp_path: Path, piece: int, indent: int | None, ascii_only: bool
) -> None:
    value = {"info": {"a": [1]}, "other": RECORDS, "records": RECORDS, "last": 7}
    path = written(tmp_path, json.dumps(value, indent=indent, ensure_ascii=ascii_only))
    assert list(read_list(path, "records")) == RECORDS
    assert dict(read_table(path, "name")) == value
    path = written(tmp_path, json.dumps(RECORDS, indent=indent, ensure_ascii=ascii_only))
    assert list(read_list(path)) == RECORDS


def test_empty_lists_and_objects_have_nothing(tmp_path: Path, piece: int) -> None:
    assert list(read_list(written(tmp_path, " [ ] "))) == []
    assert list(read_list(written(tmp_path, '{"a": []}'), "a")) == []
    assert list(read_table(written(tmp_path, "{ }"), "name")) == []


def test_a_key_that_comes_twice_is_not_lost(tmp_path: Path) -> None:
    assert list(read_table(written(tmp_path, '{"a": 1, "a": 2}'), "name")) == [("a", 1), ("a", 2)]


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    assert list(read_list(written(tmp_path, "\ufeff[1]"))) == [1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not valid JSON: Expecting '[': character 1"),
        ("[1, 2", "not valid JSON: Expecting ',' or ']': character 6"),
        ("[1 2]", "not valid JSON: Expecting ',' or ']': character 4"),
        ("[1,]", "not valid JSON: Expecting value: character 4"),
        ('["a', "not valid JSON: Unterminated string starting at: character 2"),
        ("[1] 2", "not valid JSON: Extra data: character 5"),
        ('{"a": 1}', 'should be a list, found {"a": 1}'),
    ],
)
def test_what_is_no_list_is_told_with_its_place(
    tmp_path: Path, piece: int, text: str, told: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(DataError) as caught:
        list(read_list(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{1: 2}", "not valid JSON: Expecting '\"': character 2"),
        ('{"a" 2}', "not valid JSON: Expecting ':': character 6"),
        ('{"a": 2', "not valid JSON: Expecting ',' or '}': character 8"),
        ('{"a": 2}', "'records' is missing"),
        ('{"records": "many"}', "'records' should be a list, found \"many\""),
        ("[3]", "should be an object, found [3]"),
    ],
)
def test_what_has_no_such_list_is_told_with_its_place(
    tmp_path: Path, piece: int, text: str, told: str
) -> None:
    with pytest.raises(DataError) as caught:
        list(read_list(written(tmp_path, text), "records"))
    assert told in str(caught.value)


def test_what_is_nested_too_deeply_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not valid JSON: maximum recursion depth"):
        list(read_list(written(tmp_path, "[" * 100_000)))


def test_a_long_value_is_cut_in_the_message(tmp_path: Path, piece: int) -> None:
    path = written(tmp_path, json.dumps({"records": {"a": list(range(1000))}}))
    with pytest.raises(DataError) as caught:
        list(read_list(path, "records"))
    cut = str(caught.value).partition("found ")[2]
    assert cut.startswith('{"a": [0, 1, 2') and cut.endswith("...") and len(cut) == 63


def test_records_that_nobody_keeps_take_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_text, "PIECE", 1 << 14)
    record = {"answers": [{"answer": f"answer {n}", "answer_id": n} for n in range(10)]}
    path = written(tmp_path, json.dumps({"annotations": [record] * 4000}))
    tracemalloc.start()
    count = sum(1 for _ in read_list(path, "annotations"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 4000
    assert peak < path.stat().st_size / 8
