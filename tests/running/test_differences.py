"""Why an older run of a cell is stale, in words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.running.test_spec import METHOD, SPEC, TASK
from vlbench.cards.resolve import PROSE
from vlbench.running.spec import NOT_IN_KEY, RunSpec
from vlbench.running.state import differences


def words(old: RunSpec, new: RunSpec = SPEC, **raw: Any) -> list[str]:
    return differences({**old.model_dump(mode="json"), **raw}, new.model_dump(mode="json"))


def method(**changes: Any) -> RunSpec:
    return SPEC.model_copy(update={"method": METHOD.model_copy(update=changes)})


def test_equal_specs_differ_in_nothing() -> None:
    assert words(SPEC) == []


@pytest.mark.parametrize(
    ("old", "told"),
    [
        (method(params={"reduction": 4}), "methods/mine: params.reduction 4 -> 8"),
        (method(params={"reduction": 8, "bias": True}), "methods/mine: params.bias true -> none"),
        (method(params={}), "methods/mine: params.reduction none -> 8"),
        (
            method(train=METHOD.train.model_copy(update={"epochs": 7})),
            f"methods/mine: train.epochs 7 -> {METHOD.train.epochs}",
        ),
        (
            SPEC.model_copy(update={"tasks": (TASK.model_copy(update={"prompt": "vqa: "}),)}),
            'tasks/gqa: prompt "vqa: " -> "gpa: "',
        ),
        (SPEC.model_copy(update={"data": {"gqa": "e" * 64}}), "data of gqa changed"),
        (SPEC.model_copy(update={"backbone_hash": "c" * 64}), "weights of mini-bart changed"),
        (SPEC.model_copy(update={"code": {"mine:Mine": "f"}}), "code of mine:Mine changed"),
        (SPEC.model_copy(update={"key_version": 0}), "key version 0 -> 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_thing_in_the_key_has_words(old: RunSpec, told: str) -> None:
    assert old.key != SPEC.key
    assert words(old) == [told]


def test_several_are_told_together() -> None:
    old = method(params={"reduction": 4}, sharing="task").model_copy(
        update={"data": {"gqa": "e" * 64}}
    )
    assert words(old) == [
        "methods/mine: params.reduction 4 -> 8",
        'methods/mine: sharing "task" -> "all"',
        "data of gqa changed",
    ]


def test_what_is_not_in_the_key_is_not_told() -> None:
    moved = {"root": "elsewhere", "backbone_path": "x", "device": "cuda", "features": ("f",)}
    assert set(moved) <= set(NOT_IN_KEY)
    assert words(SPEC.model_copy(update=moved)) == []
    assert {"title", "source"} <= PROSE
    assert words(method(title="Other", source="elsewhere")) == []


def test_keys_that_came_later_are_compared_with_what_was_before() -> None:
    table = SPEC.model_dump(mode="json")
    for name in ("code", "init_hash", "encoder"):
        del table[name]
    del table["method"]["train"]["optimiser"]
    assert differences(table, SPEC.model_dump(mode="json")) == []
    table["method"]["train"]["optimiser"] = "adamw"
    told = ['methods/mine: train.optimiser "adamw" -> "authors-adamw"']
    assert differences(table, SPEC.model_dump(mode="json")) == told


def test_a_field_of_another_version_is_told_by_its_name() -> None:
    assert words(SPEC, dialect="old") == ['dialect "old" -> none']


def test_tasks_that_came_or_went_are_told_once() -> None:
    other = TASK.model_copy(update={"name": "coco"})
    old = SPEC.model_copy(
        update={"tasks": (TASK, other), "data": {"gqa": "d" * 64, "coco": "c" * 64}}
    )
    assert words(old) == ["tasks of gqa: gqa, coco -> gqa"]


def test_the_weights_to_start_from_are_told_by_their_file() -> None:
    new = SPEC.model_copy(update={"init": "LAST.safetensors", "init_hash": "a" * 64})
    old = new.model_copy(update={"init_hash": "b" * 64})
    assert words(old, new) == ["weights of LAST.safetensors changed"]


def test_a_card_of_the_users_own_is_told_by_its_path() -> None:
    new = SPEC.model_copy(update={"method_file": "/home/me/mine.toml"})
    assert words(method(params={"reduction": 4}), new) == [
        "/home/me/mine.toml: params.reduction 4 -> 8"
    ]
