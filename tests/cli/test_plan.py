"""`vlbench plan` and `run --dry-run`: what there is and what would be done; nothing begins."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from tests.running.builders import Bench, do
from vlbench.cli.app import app
from vlbench.running.folder import RunFolder


def plan(bench: Bench, results: Path, *more: str, command: str = "plan") -> Result:
    _, *selectors = bench.words("--results", str(results), "--limit", "2", *more)
    done = CliRunner().invoke(app, [command, *selectors])
    assert done.exit_code == 0, done.output
    return done


def test_every_run_is_shown_with_its_state_and_what_the_rest_takes(
    bench: Bench, tmp_path: Path
) -> None:
    spec = bench.spec(limit=2)
    do(spec, tmp_path)
    failed = bench.spec(limit=2, seeds=(1,))
    folder = RunFolder.of(tmp_path, failed)
    folder.create(failed)
    folder.write_status("failed", 1, error="Traceback\nLoss is nan", exit_code=1)
    document = json.loads(plan(bench, tmp_path, "--seeds", "0,1,2", "--json").stdout)
    assert document["schema"] == "vlbench.plan/1"
    items = document["items"]
    assert [item["state"] for item in items] == ["done", "failed", "missing"]
    assert items[1]["reason"] == "Loss is nan"
    assert [item["estimate"] is None for item in items] == [True, False, False]
    assert items[2]["estimate"]["runs"] == 1 and not items[2]["estimate"]["is_rough"]
    text = plan(bench, tmp_path, "--seeds", "0,1,2").stdout
    assert all(part in text for part in ("1 done", "1 failed", "1 missing"))
    assert spec.key in text


def test_an_older_run_of_a_cell_is_stale_and_says_why(bench: Bench, tmp_path: Path) -> None:
    spec = bench.spec(limit=2)
    older = spec.model_copy(update={"data": {**spec.data, "vqav2": "0" * 64}})
    folder = RunFolder.of(tmp_path, older)
    folder.create(older)
    folder.result.touch()
    (item,) = json.loads(plan(bench, tmp_path, "--json").stdout)["items"]
    assert (item["state"], item["older_key"]) == ("stale", older.key)
    assert "data of vqav2" in item["reason"]


def test_a_dry_run_shows_the_plan_and_the_commands_and_writes_nothing(
    bench: Bench, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    text = plan(bench, results, "--jobs", "2", "--dry-run", command="run").stdout
    assert "1 missing." in text
    assert f"vlbench.worker {results}/runs/{bench.spec(limit=2).key}" in text
    assert not results.exists()
