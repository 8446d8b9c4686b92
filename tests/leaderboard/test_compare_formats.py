"""A comparison as a table and as JSON."""

from __future__ import annotations

import json
import re

import pytest

from tests.leaderboard.scored import N, right, write_image_text, write_run
from vlbench.leaderboard.compare import Filters, Pair, both_sides, gate
from vlbench.leaderboard.compare_formats import compare_json, compare_tables
from vlbench.leaderboard.formats import as_markdown, as_text
from vlbench.leaderboard.tables import MINUS


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    """`vqav2` dropped, `gqa` better, `nlvr2` equal, `coco` lost; another suite of A alone."""
    folder = tmp_path_factory.mktemp("places")
    write_image_text(folder / "old", "compacter", 50, 20, 40, 40)
    write_image_text(folder / "new", "compacter", 20, 50, 40, None, code_version="0.2.0")
    write_run(folder / "new", "compacter", {"nlvr": right(24)}, suite="nlvr", key="nlvr")
    return both_sides("compacter", None, folder / "new", folder / "old", Filters())


def test_the_table_has_a_line_per_task_and_says_what_it_stands_on(pairs: list[Pair]) -> None:
    text = as_text(compare_tables(pairs, gate(pairs, 1.0))).replace(MINUS, "-")
    lines = [re.sub(r"  +", "|", line) for line in text.splitlines()]
    assert any(line.startswith("vqav2 accuracy|33.3|83.3|-50.0|-") for line in lines)
    assert any(line.startswith("nlvr2 accuracy|66.7|66.7|0.0|") for line in lines)
    assert any(re.fullmatch(r"coco cider(\|—)+\|not comparable", line) for line in lines)
    for phrase in (
        "coco: not comparable: A has no result.",
        "average: not comparable: coco cannot be compared.",
        "mean over seeds.",
        "Test: exact McNemar; two-sided; p is Holm-adjusted over the 3 tests of this comparison",
        "One seed: what is shown",
        "new, seeds 0, code 0.2.0.",
        "Data: mini edition, complete: vqav2 vqav2-of, gqa gqa-of-m, nlvr2 nlvr2-of.",
        "compacter (A) alone: nlvr on mini-bart",
        "\nnlvr: not comparable: B (compacter of ",
        "old) has no runs of nlvr on mini-bart",
        "Gate failed: a significant drop of more than 1 points",
    ):
        assert phrase in text
    assert text.endswith("image-text: average lost: coco cannot be compared.\n")


def test_json_has_an_item_per_task_with_unrounded_numbers(pairs: list[Pair]) -> None:
    document = json.loads(compare_json(pairs, gate(pairs, 1.5)))
    assert document["schema"] == "vlbench.compare/3"
    items = {item["task"]: item for item in document["items"]}
    assert list(items) == ["vqav2", "gqa", "nlvr2", "coco", "average", "nlvr"]
    vqa = items["vqav2"]
    assert vqa["difference"] == pytest.approx(-50)
    assert vqa["a"]["value"] == pytest.approx(100 * 20 / N)
    assert vqa["low"] <= vqa["difference"] < vqa["high"] < 0
    assert vqa["p"] <= vqa["p_holm"] < 0.05
    assert (vqa["verdict"], items["gqa"]["verdict"]) == ("worse", "better")
    assert (vqa["n_examples"], vqa["a"]["method"]) == (N, "compacter")
    assert vqa["a"]["runs"] == {"0": "compacter--mini-0"}
    lost = items["coco"]
    assert (lost["verdict"], lost["reason"]) == ("not comparable", "A has no result")
    assert lost["difference"] is lost["p"] is lost["a"]["value"] is None
    assert items["nlvr"]["b"] is None
    result = document["gate"]
    assert (result["is_passed"], result["max_drop"], result["compared"]) == (False, 1.5, 3)
    assert [(fault["task"], fault["kind"]) for fault in result["faults"]] == [
        ("vqav2", "dropped"), ("coco", "lost"), ("average", "lost"),
    ]  # fmt: skip
    assert json.loads(compare_json(pairs, None))["gate"] is None


def test_without_any_row_every_format_gives_the_reason() -> None:
    result, reason = gate([], 1), "old: No results | here.\nMake some: vlbench run\x1b"
    document = json.loads(compare_json([], result, reason))
    assert (document["items"], document["places"], document["reason"]) == ([], [], reason)
    assert (document["gate"]["is_passed"], document["gate"]["compared"]) == (False, 0)
    for write in (as_text, as_markdown):
        text = write(compare_tables([], result, reason))
        assert "No results" in text and "vlbench run" in text and "never passes" in text
        assert "\x1b" not in text
