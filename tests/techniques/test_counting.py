"""Parameter counts against those of the authors' code, measured by running it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vlbench.backbones import build_backbone
from vlbench.cards import find_tasks, load_method, resolve_method
from vlbench.techniques.adapt import adapt, count, trained_parameters

ROWS = Path(__file__).resolve().parents[3] / "shared" / "reference" / "params_rows.json"


def rows() -> list[Any]:
    if not ROWS.is_file():
        return []
    found: list[Any] = json.loads(ROWS.read_text())["rows"]
    return found


@pytest.mark.parametrize(
    "row", rows(), ids=lambda r: f"{r['method']}-{r['backbone']}-{r['suite']}-{len(r['set'])}"
)
def test_the_count_is_the_authors(row: dict[str, Any]) -> None:
    settings = [f"{key}={json.dumps(value)}" for key, value in row["set"].items()]
    card = resolve_method(load_method(row["method"]), row["backbone"], row["suite"], settings)
    suite, tasks = find_tasks(row["suite"])
    assert suite == row["suite"]
    backbone = build_backbone(row["backbone"], meta=True, visual=tasks[0].visual)
    counts = count(adapt(backbone, card, [task.name for task in tasks]))
    assert (counts.trainable, counts.total) == (row["trainable"], row["total"])
    assert round(counts.percent, 4) == pytest.approx(row["trainable_percent"], abs=1.01e-4)


@pytest.mark.parametrize("technique", ["full", "frozen", "adapter", "compacter"])
def test_the_groups_add_up_to_the_whole(toy: Any, technique: str) -> None:
    model = toy(technique=technique)
    counts = count(model)
    assert counts.total == sum(group.total for group in counts.groups.values())
    assert counts.total == sum(p.numel() for p in model.parameters())
    assert counts.trainable == sum(p.numel() for p in trained_parameters(model).values())
    assert counts.groups["token table"].total == 128 * 32


def test_frozen_trains_the_visual_embedding_and_norms_where_the_card_says_so(toy: Any) -> None:
    model = toy(technique="frozen", train={"norms": False})
    visual = set(model.backbone.visual.parameters())
    assert set(trained_parameters(model).values()) == visual
    model = toy(technique="frozen", train={"norms": True})
    norms = {p for norm in model.backbone.norms() for p in norm.parameters()}
    found = set(trained_parameters(model).values())
    assert found == norms | set(model.backbone.visual.parameters())


def test_biases_are_counted_apart(toy: Any) -> None:
    groups = count(toy(technique="frozen", train={"norms": False})).groups
    assert groups["biases"].total == sum(p.numel() for p in biases_of_linear_layers(toy))
    assert groups["biases"].trainable == 0


def biases_of_linear_layers(toy: Any) -> list[Any]:
    backbone = toy(technique="frozen").backbone
    norms = {p for norm in backbone.norms() for p in norm.parameters()}
    return [p for p in backbone.biases() if p not in norms]


def test_full_trains_every_parameter(toy: Any) -> None:
    counts = count(toy(technique="full", train={"norms": False}))
    assert counts.percent == 100.0
