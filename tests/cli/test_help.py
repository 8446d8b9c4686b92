"""The help: commands in groups, whole lines at 80 columns, one example that can be typed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from tests.cli.suggestions import parse
from vlbench.cli.app import GROUPS, app


def commands(words: tuple[str, ...] = (), command: Any = None) -> Iterator[tuple[str, ...]]:
    """The words of every command, groups of commands too."""
    command = command or get_command(app)
    yield words
    for name, subcommand in getattr(command, "commands", {}).items():
        yield from commands((*words, name), subcommand)


def help_of(*words: str) -> list[str]:
    result = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    return result.stdout.splitlines()


def test_the_commands_stand_in_four_groups_each_line_whole() -> None:
    lines = help_of()
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Options:", "Run:", "Look:", "Data:", "Share:"]
    names = [name for group in GROUPS.values() for name in group]
    assert sorted(names) == sorted(get_command(app).commands)
    for name in names:
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        assert line.endswith(".") and not line.endswith("...") and len(line) <= 80


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_help_ends_with_an_example_that_can_be_typed(words: tuple[str, ...]) -> None:
    lines = help_of(*words)
    assert max(map(len, lines)) <= 80
    start, _, typed = lines[-1].partition("Example: vlbench ")
    assert start == "  " and typed.startswith(" ".join(words))
    parse(shlex.split(typed))


def test_run_and_plan_have_the_same_options() -> None:
    run, plan = (get_command(app).commands[name] for name in ("run", "plan"))
    only_run = [option.name for option in run.params if option.name not in ("detach", "dry_run")]
    assert only_run == [option.name for option in plan.params]
