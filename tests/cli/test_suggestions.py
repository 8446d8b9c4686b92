"""What messages suggest can be typed: the command line takes it, and it means what was meant."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer.testing import Result

from tests.cli import command
from tests.cli.command import option, parse, suggested
from tests.leaderboard.builders import image_text, write
from tests.leaderboard.scored import write_image_text

PLACE = "my 'best' results"
FOUR = 'params.names=["a, b","c"],train.epochs=3'
COMMANDS = {
    "report": ["report"],
    "compare": ["compare", "compacter", "full"],
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


def test_rows_that_a_message_names_are_rows_that_compare_takes(folder: Path) -> None:
    for settings in (FOUR, "params.names=['x y'],train.epochs=3"):
        write_image_text(folder, "compacter", 50, 20, 40, 40, settings=settings)
    write_image_text(folder, "full", 50, 20, 40, 40)
    none = vlbench("compare", "lora", "full")
    assert none.exit_code == 4
    listed = none.stderr.strip().partition("There is: ")[2]
    names = [[name.removesuffix(",")] for name in shlex.split(listed.removesuffix("."))]
    assert len(names) == 3
    for [name] in names:
        result = vlbench("compare", name, "full" if name != "full" else names[0][0])
        assert result.exit_code == 0, result.output
