"""The README's leaderboard is what `vlbench report` prints of the committed results."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from tools.leaderboard import FIRST_SCREEN
from vlbench.cli.app import app

HOME = Path(__file__).resolve().parents[1]


def test_the_leaderboard_is_the_report_of_the_committed_results() -> None:
    readme = (HOME / "README.md").read_text(encoding="utf-8")
    shown = readme.split("<!-- leaderboard -->")[1].split("<!-- /leaderboard -->")[0]
    words = ["report", "--results", str(HOME / "results" / "mini"), "--format", "markdown"]
    done = CliRunner().invoke(app, [*words, "--tasks", "image-text", "--method", FIRST_SCREEN])
    assert done.exit_code == 0, done.output
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert [line for line in shown.splitlines() if line.startswith("|")] == table


def test_the_leaderboard_stands_before_line_25() -> None:
    lines = (HOME / "README.md").read_text(encoding="utf-8").splitlines()
    assert lines.index("<!-- /leaderboard -->") < 25
