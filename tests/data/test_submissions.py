"""Submission files, as the servers' sample files have them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vlbench.data.example import Example
from vlbench.data.submissions import FORMATS, load_format
from vlbench.errors import UsageError


def examples(*ids: str, **annotation: Any) -> list[Example]:
    return [Example(name, "", ("clip",), {}, {**annotation, "clip_id": int(name)}) for name in ids]


def test_value_takes_the_number_of_the_choice_and_what_is_none_is_the_first_and_counted() -> None:
    submission = load_format("value-answers")(examples("137292", "7"), {"7": "a0", "137292": "a4"})
    assert json.loads(submission.text) == {"137292": 4, "7": 0}
    assert (submission.suffix, submission.unreadable) == (".json", 0)
    given = {"1": "the red one", "2": "a", "3": "a2.", "4": ""}
    submission = load_format("value-answers")(examples(*given), given)
    assert json.loads(submission.text) == {"1": 0, "2": 0, "3": 2, "4": 0}
    assert submission.unreadable == 3


def test_value_takes_a_line_for_each_clip_with_one_description() -> None:
    questions = examples("97444", vid_name="-a_1", ts=[1.0, 2.5], captions=["secret"])
    submission = load_format("value-captions")(questions, {"97444": "he \u2028 stirs"})
    [line] = submission.text.splitlines() if "\u2028" not in submission.text else []
    assert submission.text.endswith("\n") and submission.suffix == ".jsonl"
    known = {"vid_name": "-a_1", "clip_id": 97444, "ts": [1.0, 2.5]}
    assert json.loads(line) == {**known, "descs": [{"desc": "he \u2028 stirs"}]}


def test_an_unknown_format_is_refused_and_ones_own_is_taken() -> None:
    with pytest.raises(UsageError, match="Did you mean 'value-answers'"):
        load_format("value-answer")
    with pytest.raises(UsageError, match="'nowhere:at_all': no module named 'nowhere'"):
        load_format("nowhere:at_all")
    assert load_format("vlbench.data.submissions:value_answers") is FORMATS["value-answers"]
