"""Parameter counts against those of the authors' code, measured by running it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vlbench.backbones import build_backbone
from vlbench.techniques.adapt import adapt
from vlbench.techniques.counting import count
from vlbench.techniques.freezing import trained_parameters

ROWS = Path(__file__).resolve().parents[3] / "shared" / "reference" / "params_rows.json"
TASKS = ("vqav2", "gqa", "nlvr2", "coco")
CARDS: dict[str, dict[str, Any]] = {
    "full": {"technique": "full"},
    "adapter": {"technique": "adapter", "sharing": "task"},
    "shared-adapter": {"technique": "adapter", "sharing": "all"},
    "half-shared-adapter": {"technique": "adapter", "sharing": "up"},
    "compacter": {"technique": "compacter", "sharing": "task"},
    "shared-compacter": {"technique": "compacter", "sharing": "all"},
}


def rows() -> list[Any]:
    if not ROWS.is_file():
        return []
    found = json.loads(ROWS.read_text())["rows"]
    return [row for row in found if row["method"] in CARDS and row["backbone"] == "clip-bart"]


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row['source']}")
def test_the_count_is_the_authors(row: dict[str, Any], method_card: Any) -> None:
    table = dict(CARDS[row["method"]])
    params = {key[7:]: v for key, v in row["set"].items() if key.startswith("params.")}
    table["sharing"] = row["set"].get("sharing", table.get("sharing", "all"))
    width = {"image-text": 2048, "video-text": 512}[row["suite"]]
    backbone = build_backbone("clip-bart", meta=True, feature_width=width)
    counts = count(adapt(backbone, method_card(**table, params=params), TASKS))
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


def test_frozen_trains_the_visual_embedding_and_nothing_else(toy: Any) -> None:
    model = toy(technique="frozen", train={"norms": True})
    assert set(trained_parameters(model).values()) == set(model.backbone.visual.parameters())


def test_full_trains_every_parameter(toy: Any) -> None:
    counts = count(toy(technique="full", train={"norms": False}))
    assert counts.percent == 100.0
