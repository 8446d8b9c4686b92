"""A comparison as a table, as JSON, for GitHub Actions and as JUnit's XML."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.leaderboard.scored import N, right, write_image_text, write_run
from vlbench.errors import MissingError
from vlbench.leaderboard.compare import Filters, Gate, Pair, both_sides, gate, points
from vlbench.leaderboard.compare_formats import (
    append_summary,
    as_junit,
    compare_json,
    compare_markdown,
    compare_tables,
    compare_text,
    in_words,
    p_value,
    workflow_commands,
)
from vlbench.leaderboard.formats import as_markdown, as_text
from vlbench.leaderboard.tables import MINUS

COUNTS = {"name", "tests", "failures", "errors", "time"}
JUNIT = {
    "testsuites": COUNTS,
    "testsuite": COUNTS | {"skipped"},
    "testcase": {"classname", "name", "time"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
    "skipped": {"message"},
    "system-out": set(),
}
"""Attributes by element, as far as junit-10.xsd and we have them."""
EVIL = 'params.a=<b>&"1"%,\n::error::pwned\x1b[0m|*'
"""Settings as somebody could write who wants more than settings."""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    """`vqav2` dropped, `gqa` better, `nlvr2` equal, `coco` lost; another suite of A alone."""
    folder = tmp_path_factory.mktemp("pairs")
    write_image_text(folder / "old", "compacter", 50, 20, 40, 40)
    write_image_text(folder / "new", "compacter", 20, 50, 40, None, code_version="0.2.0")
    write_run(folder / "new", "compacter", {"nlvr": right(24)}, suite="nlvr", key="nlvr")
    return both_sides("compacter", None, folder / "new", folder / "old", Filters())


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    folder = tmp_path_factory.mktemp("evil")
    for name, counts in (("old", (50, 30, 40, 40)), ("new", (20, 30, 40, None))):
        write_image_text(folder / name, "compacter", *counts, settings=EVIL, key="evil")
    return both_sides("compacter", None, folder / "new", folder / "old", Filters())


def commands(pairs: list[Pair], max_drop: float | None) -> list[tuple[str, str, str]]:
    """Workflow commands as the runner reads them."""
    result = []
    outcome = None if max_drop is None else gate(pairs, max_drop)
    for line in workflow_commands(pairs, outcome).splitlines():
        match = re.fullmatch(r"::(error|warning|notice) title=([^:,]*)::(.*)", line)
        assert match, line
        texts = [match[2], match[3]]
        for code, sign in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
            texts = [text.replace(code, sign) for text in texts]
        result.append((match[1], *texts))
    return result


def plain(text: str) -> str:
    """A text whose minus signs are those of a keyboard."""
    return text.replace(MINUS, "-")


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
    text = as_text(compare_tables(pairs, Gate(1.0, 0, [])))
    lines = [re.sub(r"  +", "|", plain(line)) for line in text.splitlines()]
    assert any(line.startswith("vqav2 accuracy|33.3|83.3|-50.0|-") for line in lines)
    assert any(line.startswith("nlvr2 accuracy|66.7|66.7|0.0|") for line in lines)
    assert any(re.fullmatch(r"coco cider(\|—)+\|not comparable", line) for line in lines)
    for phrase in (
        "coco: not comparable: A has no result.",
        "average: not comparable: coco cannot be compared.",
        "mean over seeds.",
        "Test: exact McNemar; two-sided; p is Holm-adjusted over the 3 tests of this comparison",
        "One seed: what is shown",
        "old, seeds 0, code 0.1.0.",
        "new, seeds 0, code 0.2.0.",
        "Data: mini edition, complete: vqav2 vqav2-of, gqa gqa-of-m, nlvr2 nlvr2-of.",
        "compacter (A) alone: nlvr on mini-bart",
        "\nNot comparable: B (compacter of ",
        "old) has no runs of nlvr.\n",
    ):
        assert phrase in text
    assert text.endswith("Gate: nothing could be compared, which never passes.\n")


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


def test_numbers_have_the_digits_that_matter() -> None:
    texts = {None: "—", 0.0: "<0.001", 0.00123: "0.001", 0.0499: "0.050", 0.5: "0.50", 1: "1.00"}
    assert {p: p_value(p) for p in texts} == texts
    assert [points(value) for value in (1, 0.25, 0)] == ["1 point", "0.25 points", "0 points"]


def test_json_has_an_item_per_task_with_unrounded_numbers(pairs: list[Pair]) -> None:
    document = json.loads(compare_json(pairs, gate(pairs, 1.5)))
    assert document["schema"] == "vlbench.compare/2"
    items = {item["task"]: item for item in document["items"]}
    assert list(items) == ["vqav2", "gqa", "nlvr2", "coco", "average", "nlvr"]
    vqa = items["vqav2"]
    assert vqa["difference"] == pytest.approx(-50)
    assert vqa["a"]["value"] == pytest.approx(100 * 20 / N)
    assert vqa["b"]["value"] == pytest.approx(100 * 50 / N)
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


def test_github_gets_an_error_per_fault_and_a_notice_with_all_numbers(pairs: list[Pair]) -> None:
    result = commands(pairs, 1.5)
    assert [(name, title) for name, title, _ in result] == [
        ("error", "vlbench: vqav2 dropped"),
        ("error", "vlbench: coco lost"),
        ("error", "vlbench: average lost"),
        ("warning", "vlbench: nlvr not comparable"),
        ("notice", "vlbench: image-text on mini-bart, mini edition, test split"),
        ("error", "vlbench: gate"),
    ]
    assert re.fullmatch(
        r"vqav2 accuracy 33\.3 against 83\.3, -50\.0 points "
        r"\(simultaneous 95 % interval -\d+\.\d to -\d+\.\d, "
        r"p <0\.001, 60 examples x 1 seed\): B better",
        plain(in_words(pairs[0].items[0])),
    )
    assert result[0][2].startswith(in_words(pairs[0].items[0]))
    assert len(result[4][2].splitlines()) == 5
    assert {name for name, _, _ in commands(pairs, None)} == {"warning", "notice"}


def test_no_name_becomes_a_workflow_command_or_breaks_the_xml(evil: list[Pair]) -> None:
    lines = workflow_commands(evil, gate(evil, 0)).splitlines()
    assert all(line.startswith("::") and not line.startswith("::error::") for line in lines)
    assert len(commands(evil, 0)) == len(lines)
    name = junit(evil, gate(evil, 0))[0].get("name", "")
    assert '<b>&"1"%,[U+000A]::error::pwned[U+001B][0m|*' in name


def test_the_summary_is_added_to_what_the_job_has(pairs: list[Pair], tmp_path: Path) -> None:
    file, result = tmp_path / "summary.md", gate(pairs, 1)
    file.write_text("# Before\n", "utf-8")
    append_summary(file, pairs, result)
    text = file.read_text("utf-8")
    assert text.startswith("# Before\n### compacter (A) against compacter of ")
    assert text == f"# Before\n{as_markdown(compare_tables(pairs, result))}\n"
    assert text.count("\n### ") == 2 and "- Gate failed" in text
    with pytest.raises(MissingError, match=r"GITHUB_STEP_SUMMARY=.*cannot be written"):
        append_summary(tmp_path / "nowhere" / "summary.md", pairs, None)


def test_junit_has_a_case_per_task_failed_skipped_or_passed(pairs: list[Pair]) -> None:
    root = junit(pairs, gate(pairs, 1))
    assert root.tag == "testsuites"
    assert [suite.get("tests") for suite in root] == ["5", "1"]
    assert {
        case.get("name"): [(child.tag, child.get("type")) for child in case]
        for case in root.iter("testcase")
    } == {
        "vqav2.accuracy": [("failure", "dropped")],
        "gqa.accuracy": [("system-out", None)],
        "nlvr2.accuracy": [("system-out", None)],
        "coco.cider": [("failure", "lost")],
        "average": [("failure", "lost")],
        "nlvr.accuracy": [("skipped", None)],
    }
    assert [suite.get("skipped") for suite in root] == ["0", "1"]
    root = junit(pairs, None)
    assert (len(list(root.iter("failure"))), len(list(root.iter("skipped")))) == (0, 3)


def test_where_nothing_was_compared_junit_has_an_error(tmp_path: Path) -> None:
    write_image_text(tmp_path / "old", "compacter", 50, 20, 40, 40)
    write_image_text(tmp_path / "new", "compacter", 50, 20, 40, 40, data_fingerprint="x")
    pairs = both_sides("compacter", None, tmp_path / "new", tmp_path / "old", Filters())
    for outcome in (None, gate(pairs, 1)):
        root = junit(pairs, outcome)
        assert root.get("errors") == root[-1].get("errors") == "1"
        assert "Nothing could be compared" in root[-1][0][0].get("message", "")


def test_without_any_pair_every_format_gives_the_reason() -> None:
    result, reason = gate([], 1), "old: No results | here.\nMake some: vlbench run\x1b"
    root = junit([], result, reason)
    assert (root.get("tests"), root.get("errors"), root.get("failures")) == ("1", "1", "0")
    error = next(root.iter("error"))
    assert error.get("message") == "old: No results | here."
    assert (error.text or "").endswith("vlbench run[U+001B]")
    document = json.loads(compare_json([], result, reason))
    assert (document["items"], document["places"], document["reason"]) == ([], [], reason)
    assert (document["gate"]["is_passed"], document["gate"]["compared"]) == (False, 0)
    lines = workflow_commands([], result, reason).splitlines()
    assert lines[0] == (
        "::error title=vlbench%3A nothing compared::old: No results | here.%0A"
        "Make some: vlbench run[U+001B]"
    )
    assert lines[1].startswith("::error title=vlbench%3A gate::")
    assert compare_text([], result, reason) == f"{reason[:-1]}[U+001B]\n"
    assert compare_markdown([], result, reason).startswith("old: No results \\| here.\nMake some:")
