"""`vlbench list runs`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner, Result

from tests.running.test_spec import SPEC
from vlbench.cli.app import app
from vlbench.running.folder import RunFolder


def list_runs(results: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["list", "runs", "--results", str(results), *words])


def test_runs_are_listed_with_their_status(tmp_path: Path) -> None:
    folder = RunFolder.of(tmp_path, SPEC)
    folder.create(SPEC)
    table = list_runs(tmp_path)
    assert table.exit_code == 0
    head, line = table.stdout.splitlines()
    assert head.split() == [
        *("key", "method", "settings", "init", "suite"),
        *("backbone", "edition", "scope", "seed", "status"),
    ]
    assert line.split() == [
        SPEC.key,
        "mine",
        "gqa",
        "mini-bart",
        "mini",
        "complete",
        "0",
        "planned",
    ]
    document = json.loads(list_runs(tmp_path, "--json").stdout)
    assert document["schema"] == "vlbench.list/1"
    assert document["items"][0]["settings"] == []
    assert document["items"][0]["init"] == ""


def test_an_unreadable_run_is_told_beside_the_others(tmp_path: Path) -> None:
    RunFolder.of(tmp_path, SPEC).create(SPEC)
    broken = tmp_path / "runs" / "broken" / "spec.json"
    broken.parent.mkdir()
    broken.write_text("")
    result = list_runs(tmp_path)
    assert result.exit_code == 3
    assert len(result.stdout.splitlines()) == 2
    assert f"{broken}: not a run's spec" in result.stderr


def test_a_folder_without_runs_exits_4(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        result = list_runs(place)
        assert result.exit_code == 4
        assert f"{place}: no runs here" in result.stderr
        assert result.stdout == ""


def test_listing_runs_imports_nothing_heavy(tmp_path: Path) -> None:
    RunFolder.of(tmp_path, SPEC).create(SPEC)
    program = (
        "import sys\n"
        "from vlbench.cli.app import main\n"
        f"sys.argv = ['vlbench', 'list', 'runs', '--results', {str(tmp_path)!r}]\n"
        "try:\n    main()\n"
        "finally:\n    print(sorted({'torch', 'transformers', 'pandas'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.endswith("planned\n[]\n")
