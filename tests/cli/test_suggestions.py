"""What messages suggest can be typed: the command line takes it, and it means what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import Result

from tests.cli import command
from tests.cli.command import option, parse, suggested
from tests.leaderboard.builders import image_text, write

PLACE = "my 'best' results"
COMMANDS = {
    "report": ["report"],
    "compare": ["compare", "compacter", "full"],
    "recommend": ["recommend"],
    "pareto": ["plot", "pareto", "--out", "a.svg"],
    "curves": ["plot", "curves", "--out", "a.svg"],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder whose name must be quoted, not there yet."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / PLACE


def vlbench(*words: str) -> Result:
    return command.vlbench(*words, "--results", PLACE)


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_commands_without_results_or_with_smoke_alone_suggest_what_can_be_typed(
    folder: Path, words: list[str]
) -> None:
    for _ in ("missing", "empty"):
        result = vlbench(*words)
        assert result.exit_code == 4
        [line] = suggested(result.stderr)
        assert line[0] == "run" and option(line, "--results") == PLACE
        folder.mkdir(exist_ok=True)
    write(folder, image_text("full", 1, 1, 1, 1, scope="smoke", limit=64))
    result = vlbench(*words)
    assert result.exit_code == 4 and "--include smoke" in result.stderr
    parse([*words, "--include", "smoke"])
