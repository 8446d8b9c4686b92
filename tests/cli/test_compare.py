"""`vlbench compare`: words, exit codes, and what goes where."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from tests.leaderboard.scored import right, write_image_text, write_run
from vlbench.cli.app import app

HOME = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A baseline; equal, damaged and unlike results beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    for name, counts in {
        "baseline": (50, 30, 40, 40),
        "equal": (50, 30, 40, 40),
        "damaged": (20, 30, 40, 40),
        "partial": (50, 30, 40, None),
    }.items():
        write_image_text(tmp_path / name, "compacter", *counts)
    write_image_text(tmp_path / "unlike", "compacter", 50, 30, 40, 40, data_fingerprint="x")
    write_image_text(tmp_path / "equal", "full", 55, 35, 45, 45)
    (tmp_path / "empty").mkdir()
    return tmp_path


def compare(*words: str) -> Result:
    return CliRunner().invoke(app, ["compare", *words])


def gate(results: str, *words: str, baseline: str = "baseline", max_drop: str = "1") -> Result:
    places = ("--results", results, "--baseline", baseline)
    return compare("compacter", *places, "--max-drop", max_drop, *words)


# the four exit codes of the gate


def test_the_gate_ends_with_0_on_an_equal_run(folder: Path) -> None:
    result = gate("equal")
    assert result.exit_code == 0, result.output
    assert "Gate passed: 5 compared" in result.stdout
    assert result.stderr == ""


def test_the_gate_ends_with_1_on_a_drop(folder: Path) -> None:
    result = gate("damaged")
    assert result.exit_code == 1
    assert "Gate failed" in result.stdout and "vqav2 dropped by 50.0 points." in result.stdout
    assert result.stderr.startswith("vlbench: The gate failed: 2 numbers do not pass;")


def test_the_gate_ends_with_1_on_a_lost_task(folder: Path) -> None:
    result = gate("partial", max_drop="100")
    assert result.exit_code == 1
    assert "coco lost: A has no result." in result.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["compacter", "--results", "equal"],
        ["compactor", "--results", "equal", "--baseline", "baseline"],
        ["compacter", "--results", "equal", "--baseline", "baseline", "--max-drop", "-1"],
        ["compacter", "--results", "equal", "--baseline", "baseline", "--max-drop", "nan"],
        ["compacter", "--results", "equal", "--baseline", "baseline", "--max-drop", "much"],
        ["compacter", "--results", "equal", "--baseline", "equal", "--max-drop", "1"],
        ["compacter", "full", "--results", "equal", "--format", "xml"],
        ["compacter", "full", "--results", "equal", "--format", "github", "--out", "x.txt"],
        ["compacter", "full", "--results", "equal", "--out", "."],
        ["compacter", "full", "--results", "equal", "--tasks", "image-txt"],
        ["compacter", "full", "--results", "equal", "--include", "smoky"],
    ],
    ids=" ".join,
)
def test_the_gate_ends_with_2_on_words_that_do_not_fit(folder: Path, words: list[str]) -> None:
    result = compare(*words)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""


@pytest.mark.parametrize("baseline", ["empty", "missing", "unlike"])
def test_the_gate_ends_with_4_where_nothing_was_compared(folder: Path, baseline: str) -> None:
    result = gate("equal", baseline=baseline)
    assert result.exit_code == 4, result.output
    assert gate(baseline, baseline="equal").exit_code == 4


def test_smoke_runs_are_only_compared_when_included(folder: Path) -> None:
    for name in ("new", "old"):
        smoke = {"scope": "smoke", "limit": 64}
        write_image_text(folder / name, "compacter", 50, 30, 40, 40, **smoke)
    result = gate("new", baseline="old")
    assert result.exit_code == 4
    assert "--include smoke" in result.stderr
    assert gate("new", "--include", "smoke", baseline="old").exit_code == 0


# what is printed


def test_without_a_gate_a_difference_is_no_failure(folder: Path) -> None:
    result = compare("compacter", "--results", "damaged", "--baseline", "baseline")
    assert result.exit_code == 0
    assert "B better" in result.stdout and "Gate" not in result.stdout
    assert "\x1b" not in result.stdout


def test_one_name_alone_asks_for_another(folder: Path) -> None:
    result = compare("compacter", "--results", "equal")
    assert "vlbench compare compacter full" in result.stderr
    assert "--baseline DIR" in result.stderr


def test_what_could_not_be_compared_is_printed_with_the_reason(folder: Path) -> None:
    result = compare("compacter", "--results", "equal", "--baseline", "unlike")
    assert result.exit_code == 4
    assert "data vqav2-of against x." in result.stdout
    assert "Nothing could be compared" in result.stderr


def test_a_file_gets_what_stdout_would(folder: Path) -> None:
    shown = gate("damaged", "--format", "markdown")
    written = gate("damaged", "--format", "markdown", "--out", "gate.md")
    assert shown.exit_code == written.exit_code == 1
    assert written.stdout == ""
    assert "Written: gate.md" in written.stderr
    assert (folder / "gate.md").read_text("utf-8") == shown.stdout
    assert shown.stdout.startswith("### compacter (A) against compacter of baseline (B)")


def test_json_is_all_of_stdout(folder: Path) -> None:
    document = json.loads(gate("damaged", "--format", "json").stdout)
    assert document["schema"] == "vlbench.compare/2"
    assert document["gate"]["is_passed"] is False
    assert len(document["items"]) == 5


def test_github_speaks_to_the_runner_and_adds_to_the_summary(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = gate("damaged", "--format", "github")
    assert result.exit_code == 1
    assert result.stdout.startswith("::error title=vlbench%3A vqav2 dropped::")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary.md"))
    assert gate("equal", "--format", "github").exit_code == 0
    assert "| vqav2 accuracy" in (folder / "summary.md").read_text("utf-8")


def test_junit_is_xml_with_a_failure(folder: Path) -> None:
    assert gate("damaged", "--format", "junit", "--out", "gate.xml").exit_code == 1
    root = ElementTree.parse(folder / "gate.xml").getroot()
    assert root.get("failures") == "2" and root.get("tests") == "5"


def test_the_options_may_come_from_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLBENCH_RESULTS", "damaged")
    monkeypatch.setenv("VLBENCH_BASELINE", "baseline")
    monkeypatch.setenv("VLBENCH_MAX_DROP", "1")
    assert compare("compacter").exit_code == 1


def test_the_committed_results_tell_full_fine_tuning_from_the_adapter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["shared-adapter", "full", "--results", str(HOME / "results" / "mini")]
    result = compare(*words, "--tasks", "image-text", "--format", "json")
    assert result.exit_code == 0, result.output
    items = {item["task"]: item for item in json.loads(result.stdout)["items"]}
    assert list(items) == ["vqav2", "gqa", "nlvr2", "coco", "average"]
    assert items["average"]["verdict"] == "B better"
    assert len(items["average"]["a"]["runs"]) == 3


def test_comparing_imports_no_torch(folder: Path) -> None:
    program = (
        "import sys\nfrom vlbench.cli.app import app\n"
        "app(['compare', 'compacter', 'full', '--results', 'equal'], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=folder
    )
    assert done.returncode == 0, done.stderr


def test_a_place_below_a_file_exits_2_before_anything_is_read(folder: Path) -> None:
    (folder / "file").touch()
    result = gate("missing", "--format", "junit", "--out", "file/gate.xml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "file is a file, no folder. Name another place: --out PATH" in result.stderr


def test_out_goes_behind_a_link_which_stays(folder: Path) -> None:
    (folder / "gate.md").symlink_to("kept.md")
    assert gate("equal", "--format", "markdown", "--out", "gate.md").exit_code == 0
    assert (folder / "gate.md").is_symlink()
    assert (folder / "kept.md").read_text("utf-8").startswith("### compacter")


NOTHING = {
    "missing folder": ("compacter", "--results", "missing", "--baseline", "baseline"),
    "missing baseline": ("compacter", "--results", "equal", "--baseline", "missing"),
    "empty folder": ("compacter", "full", "--results", "empty"),
    "no such row": ("compacter", "lora", "--results", "equal"),
    "no such place": ("compacter", "full", "--results", "equal", "--edition", "full"),
    "other data": ("compacter", "--results", "equal", "--baseline", "unlike"),
}


@pytest.mark.parametrize("max_drop", [(), ("--max-drop", "1")], ids=["", "gate"])
@pytest.mark.parametrize("words", NOTHING.values(), ids=NOTHING)
def test_whatever_ends_with_4_leaves_a_junit_file_with_an_error(
    folder: Path, words: tuple[str, ...], max_drop: tuple[str, ...]
) -> None:
    (folder / "gate.xml").write_text("of an earlier run")
    result = compare(*words, *max_drop, "--format", "junit", "--out", "gate.xml")
    assert result.exit_code == 4, result.output
    root = ElementTree.parse(folder / "gate.xml").getroot()
    assert root.get("errors") == "1"
    [error] = root.iter("error")
    assert error.get("message")


@pytest.mark.parametrize("words", NOTHING.values(), ids=NOTHING)
def test_whatever_ends_with_4_is_told_on_stdout_as_json_and_to_github(
    folder: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = compare(*words, "--max-drop", "1", "--format", "json")
    assert told.exit_code == 4
    document = json.loads(told.stdout)
    assert document["gate"]["is_passed"] is False and document["gate"]["compared"] == 0
    assert document["reason"] or all(item["reason"] for item in document["items"])
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary.md"))
    told = compare(*words, "--max-drop", "1", "--format", "github")
    assert told.exit_code == 4
    assert told.stdout.startswith("::") and "::error title=vlbench%3A" in told.stdout
    assert (folder / "summary.md").read_text("utf-8").strip()


@pytest.mark.parametrize("format", ["table", "json", "junit", "github", "markdown"])
def test_sides_of_different_suites_exit_4_and_name_the_side_without_runs(
    folder: Path, format: str
) -> None:
    write_image_text(folder / "apart", "full", 50, 30, 40, 40)
    write_run(folder / "apart", "compacter", {"nlvr": right(24)}, suite="nlvr", key="nlvr")
    result = compare("compacter", "full", "--results", "apart", "--format", format)
    assert result.exit_code == 4
    for said in ("A (compacter) has no runs of image-text", "B (full) has no runs of nlvr"):
        assert said in result.stdout.replace("\\", "") and said in result.stderr


def test_a_table_of_nothing_leaves_stdout_empty_and_says_why_in_a_file(folder: Path) -> None:
    words = NOTHING["no such row"]
    shown = compare(*words)
    assert (shown.exit_code, shown.stdout) == (4, "")
    assert compare(*words, "--out", "table.txt").exit_code == 4
    assert (folder / "table.txt").read_text("utf-8").startswith("equal: No results of lora.")
