"""`vlbench verify`: exit codes, the cells it names, and its counts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.runs.builders import Bench, do
from tests.verify.builders import edit, reseal
from vlbench.cli.app import app

RESULT = "result.parquet"


@pytest.fixture(scope="module")
def _results(_bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("verified")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLBENCH_CACHE", str(_bench.root.parent / "cache"))
        do(_bench.spec(limit=4), results)
    return results


@pytest.fixture
def results(bench: Bench, _results: Path, tmp_path: Path) -> Path:
    """A results folder with a run that is done, to be changed."""
    return Path(shutil.copytree(_results, tmp_path / "results"))


def verify(*words: object) -> Result:
    return CliRunner().invoke(app, ["verify", *map(str, words)])


def items(result: Result) -> list[dict[str, Any]]:
    document = json.loads(result.stdout)
    assert document["schema"] == "vlbench.verify/1"
    found: list[dict[str, Any]] = document["items"]
    return found


def test_what_holds_ends_with_0_and_counts(results: Path) -> None:
    result = verify(results)
    assert result.exit_code == 0, result.output
    first, *reasons = result.stdout.splitlines()
    assert first.startswith("1 run, ") and ", 0 do not hold, " in first
    assert any(line.endswith("SHA256SUMS and the scores speak for it") for line in reasons)
    assert result.stderr.splitlines()[-1] == "1 of 1 runs verified"


def test_a_changed_digit_ends_with_1_and_names_the_cell(results: Path) -> None:
    (run,) = results.glob("runs/*")
    edit(run / RESULT, lambda rows: rows[0].update(n_examples=5))
    result = verify(results)
    assert result.exit_code == 1
    heading, *lines = result.stdout.splitlines()
    columns = ["run", "key", "file", "row", "column", "stored", "recomputed", "why"]
    assert heading.split() == columns
    (line,) = [line for line in lines if "n_examples" in line]
    assert run.name in line and "shared-adapter" in line and "seed 0" in line
    assert line.split()[-5:] == [RESULT, "vqav2.accuracy", "n_examples", "5", "4"]
    assert any("sha256" in line for line in lines)


def test_json_has_every_cell(results: Path) -> None:
    (run,) = results.glob("runs/*")
    edit(run / RESULT, lambda rows: [row.update(seed=7) for row in rows])
    reseal(run)
    (item,) = items(result := verify(results, "--json"))
    assert result.exit_code == 1
    assert (item["key"], item["method"], item["holds"]) == (run.name, "shared-adapter", False)
    seeds = [fault for fault in item["faults"] if fault["column"] == "seed"]
    assert len(item["faults"]) == len(seeds) > 5
    assert (seeds[0]["stored"], seeds[0]["recomputed"]) == (7, 0)
    assert item["cells_checked"] > 100 and item["not_checked"][0]["cells"] > 0
    shown = verify(results).stdout
    assert shown.count(" seed  ") <= 6 + 1 and f"and {len(seeds) - 5} more" in shown


def test_nothing_to_verify_ends_with_4(results: Path, tmp_path: Path) -> None:
    for words in ([tmp_path / "none"], [results, "--method", "full"], [results, "--seeds", "5"]):
        result = verify(*words)
        assert (result.exit_code, result.stdout) == (4, "")
    (run,) = results.glob("runs/*")
    (run / RESULT).unlink()
    (run / "status.json").unlink()
    result = verify(results)
    assert result.exit_code == 4 and "1 runs there, none done" in result.stderr


def test_a_wrong_word_ends_with_2(results: Path) -> None:
    assert verify(results, "--method", "fulll").exit_code == 2
    assert verify(results, "--seeds", "one").exit_code == 2


def test_the_folder_may_be_an_option_or_a_variable(results: Path) -> None:
    assert verify("--results", results).exit_code == 0
    done = CliRunner().invoke(app, ["verify"], env={"VLBENCH_RESULTS": str(results)})
    assert done.exit_code == 0


def test_runs_that_are_left_out_are_told(results: Path, bench: Bench) -> None:
    other = do(bench.spec(limit=4, seeds=(1,)), results).path
    assert "left out, as not asked for: 1" in verify(results, "--seeds", "0").stderr
    for name in (RESULT, "status.json"):
        (other / name).unlink()
    assert f"left out, as not done: 1 ({other.name})" in verify(results).stderr


def test_a_run_without_sums_ends_with_1_and_names_the_command_that_mends_it(
    results: Path,
) -> None:
    (run,) = results.glob("runs/*")
    (run / "SHA256SUMS").unlink()
    result = verify(results)
    assert result.exit_code == 1
    (line,) = [line for line in result.stdout.splitlines() if run.name in line]
    assert "SHA256SUMS" in line and "vlbench results seal" in line
    assert CliRunner().invoke(app, ["results", "seal", "--results", str(results)]).exit_code == 0
    assert verify(results).exit_code == 0


def test_a_run_that_cannot_be_read_is_listed_beside_one_that_holds(results: Path) -> None:
    (run,) = results.glob("runs/*")
    other = Path(shutil.copytree(run, run.parent / "0000000000000000"))
    (other / "spec.json").write_text("{")
    (other / RESULT).write_bytes((other / RESULT).read_bytes()[:99])
    result = verify(results, "--json")
    assert result.exit_code == 1
    first, second = items(result)
    assert (first["key"], first["holds"]) == (other.name, False)
    assert {"spec.json", RESULT} <= {fault["file"] for fault in first["faults"]}
    assert (second["key"], second["holds"]) == (run.name, True)


def test_without_the_data_it_is_said_what_could_not_be_checked(
    results: Path, tmp_path: Path
) -> None:
    result = verify(results, "--root", tmp_path / "nowhere")
    assert result.exit_code == 0
    assert "the data are not at hand" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("what", ["nothing", "a caption", "a score", "meteor"])
def test_captions_of_the_embedded_leaderboard(project: Path, tmp_path: Path, what: str) -> None:
    run = sorted((project / "results/mini/runs").iterdir())[0]
    copy = Path(shutil.copytree(run, tmp_path / "runs" / run.name))
    file = copy / "predictions/coco.parquet"
    if what == "a caption":
        edit(file, lambda rows: rows[0].update(prediction="a cat"))
    if what == "a score":
        edit(file, lambda rows: rows[0].update(score=rows[0]["score"] + 0.1))
    if what == "meteor":
        edit(copy / RESULT, lambda rows: [_more(row) for row in rows])
    if what != "nothing":
        reseal(copy)
    (item,) = items(verify(tmp_path, "--json"))
    places = {(fault["row"], fault["column"]) for fault in item["faults"]}
    expected = {
        "nothing": set(),
        "a caption": {("coco.cider", "value"), ("coco.meteor", "value"), ("5200", "score")},
        "a score": {("5200", "score")},
        "meteor": {("coco.meteor", "value")},
    }[what]
    assert places >= expected and (what == "a caption" or places == expected)


def _more(row: dict[str, Any]) -> None:
    if row["metric"] == "coco.meteor":
        row["value"] += 0.01
