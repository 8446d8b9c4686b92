"""A comparison as a table, as JSON and as JUnit's XML."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.leaderboard.scored import N, right, write_image_text, write_run
from vlbench.leaderboard.compare import Filters, Gate, Pair, both_sides, gate
from vlbench.leaderboard.compare_formats import as_junit, compare_json, compare_tables
from vlbench.leaderboard.formats import as_markdown, as_text
from vlbench.leaderboard.tables import MINUS

COUNTS = {"name", "tests", "failures", "errors", "time"}
JUNIT = {
    **{"testsuites": COUNTS, "testsuite": COUNTS, "testcase": {"classname", "name", "time"}},
    **{"failure": {"message", "type"}, "error": {"message", "type"}, "skipped": {"message"}},
    "system-out": set(),
}
"""Attributes by element, as far as junit-10.xsd and we have them."""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    """`vqav2` dropped, `gqa` better, `nlvr2` equal, `coco` lost; another suite of A alone."""
    folder = tmp_path_factory.mktemp("places")
    write_image_text(folder / "old", "compacter", 50, 20, 40, 40)
    write_image_text(folder / "new", "compacter", 20, 50, 40, None, code_version="0.2.0")
    write_run(folder / "new", "compacter", {"nlvr": right(24)}, suite="nlvr", key="nlvr")
    return both_sides("compacter", None, folder / "new", folder / "old", Filters())


def junit(pairs: list[Pair], gate: Gate | None, reason: str = "") -> ElementTree.Element:
    """The XML, which has nothing that the schema of Jenkins lacks and counts its cases right."""
    root = ElementTree.fromstring(as_junit(pairs, gate, reason))
    for element in root.iter():
        assert set(element.attrib) <= JUNIT[element.tag], element.tag
    for element in (root, *root):
        counts = [len(list(element.iter(tag))) for tag in ("testcase", "failure", "error")]
        names = ("tests", "failures", "errors")
        assert [int(element.get(name, "")) for name in names] == counts
    return root


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
        "seeds unpaired (Welch); two-sided; p is Holm-adjusted over the 3 tests of this comparison",
        "One seed: what is shown",
        "old, seeds 0, code 0.1.0.",
        "new, seeds 0, code 0.2.0.",
        "Data: mini edition, complete: vqav2 vqav2-of, gqa gqa-of-m, nlvr2 nlvr2-of.",
        "compacter (A) alone: nlvr on mini-bart",
        "\nnlvr: not comparable: B (compacter of ",
        "old) has no runs of nlvr on mini-bart",
        "Gate failed: a significant drop of more than 1 points",
    ):
        assert phrase in text
    assert text.endswith("image-text: average lost: coco cannot be compared.\n")


def test_changed_cards_and_seeds_that_ran_twice_are_noted(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_image_text(tmp_path / "old", "compacter", 50, 20, 40, 40, seed=seed)
        other = {"card_hash": "feed" * 16, "seed": seed}
        write_image_text(tmp_path / "new", "compacter", 50, 20, 40, 40, **other)
    again = {"card_hash": "feed" * 16, "key": "run-2", "attempt": 2}
    write_image_text(tmp_path / "new", "compacter", 50, 20, 40, 40, **again)
    pairs = both_sides("compacter", None, tmp_path / "new", tmp_path / "old", Filters())
    [notes] = [table.notes for table in compare_tables(pairs)]
    assert any("cards of A and B differ" in note for note in notes)
    assert "A: compacter, seed 0: the newest run counts (run-2, not compacte)." in notes
    assert not any(note.startswith("One seed:") for note in notes)


def test_json_has_an_item_per_task_with_unrounded_numbers(pairs: list[Pair]) -> None:
    document = json.loads(compare_json(pairs, gate(pairs, 1.5)))
    assert document["schema"] == "vlbench.compare/2"
    items = {item["task"]: item for item in document["items"]}
    assert list(items) == ["vqav2", "gqa", "nlvr2", "coco", "average", "nlvr"]
    vqa = items["vqav2"]
    assert vqa["difference"] == pytest.approx(-50)
    assert vqa["a"]["value"] == pytest.approx(100 * 20 / N)
    assert vqa["low"] <= vqa["difference"] < vqa["high"] < 0
    assert vqa["p"] <= vqa["p_holm"] < 0.05
    assert (vqa["verdict"], items["gqa"]["verdict"]) == ("B better", "A better")
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


def test_junit_has_a_case_per_task_failed_skipped_or_passed(pairs: list[Pair]) -> None:
    root = junit(pairs, gate(pairs, 1))
    assert root.tag == "testsuites"
    assert [suite.get("tests") for suite in root] == ["5", "1"]
    assert {
        case.get("name"): [(child.tag, child.get("type")) for child in case]
        for case in root.iter("testcase")
    } == {
        "vqav2.accuracy": [("failure", "dropped")],
        "gqa.accuracy": [],
        "nlvr2.accuracy": [],
        "coco.cider": [("failure", "lost")],
        "average": [("failure", "lost")],
        "nlvr.accuracy": [("skipped", None)],
    }
    root = junit(pairs, None)
    assert (len(list(root.iter("failure"))), len(list(root.iter("skipped")))) == (0, 3)


def test_without_any_row_every_format_gives_the_reason() -> None:
    result, reason = gate([], 1), "old: No results | here.\nMake some: vlbench run\x1b"
    root = junit([], result, reason)
    assert (root.get("tests"), root.get("errors"), root.get("failures")) == ("1", "1", "0")
    error = next(root.iter("error"))
    assert error.get("message") == "old: No results | here."
    assert (error.text or "").endswith("vlbench run[U+001B]")
    document = json.loads(compare_json([], result, reason))
    assert (document["items"], document["places"], document["reason"]) == ([], [], reason)
    assert (document["gate"]["is_passed"], document["gate"]["compared"]) == (False, 0)
    for write in (as_text, as_markdown):
        text = write(compare_tables([], result, reason))
        assert "No results" in text and "vlbench run" in text and "never passes" in text
        assert "\x1b" not in text
