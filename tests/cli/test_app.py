"""Errors end in one message and an exit code, bugs in a traceback; help has groups and examples."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from tests.cli.command import parse, vlbench
from tests.leaderboard.builders import image_text, write
from tests.runs.test_spec import SPEC
from tests.runs.test_watch import folder_of
from vlbench import __version__, errors
from vlbench.cli import app as cli
from vlbench.cli.app import GROUPS


def test_the_exit_codes_are_the_documented_ones() -> None:
    codes = {kind.__name__: kind.exit_code for kind in errors.VlbenchError.__subclasses__()}
    assert codes == {
        "RunFailed": 1,
        "WorseThanAllowed": 1,
        "UsageError": 2,
        "MissingError": 3,
        "NothingToReport": 4,
    }
    assert errors.CardError.exit_code == 2
    assert errors.DataError.exit_code == errors.JavaFailed.exit_code == 3


@pytest.mark.parametrize("words", [["lst"], ["list"], ["list", "methods", "--jsn"], ["--nope"]])
def test_words_that_do_not_fit_exit_2_without_a_traceback(words: list[str]) -> None:
    result = vlbench(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
    assert "Usage: vlbench" in result.stderr


def test_the_version_is_printed_and_an_option_has_a_variable() -> None:
    assert vlbench("--version").stdout == f"vlbench {__version__}\n"
    assert vlbench("list", "suites", VLBENCH_JSON="1").stdout.startswith("{")


def fail(monkeypatch: pytest.MonkeyPatch, raised: BaseException) -> None:
    def raise_it(*_: object) -> None:
        raise raised

    monkeypatch.setattr("vlbench.cards.load.load_suites", raise_it)


@pytest.mark.parametrize(
    ("raised", "code", "text"),
    [
        (errors.MissingError("no Java"), 3, "vlbench: no Java\n"),
        (errors.NothingToReport("no runs"), 4, "vlbench: no runs\n"),
        (KeyboardInterrupt(), 130, "vlbench: interrupted\n"),
    ],
)
def test_an_error_within_a_command_ends_in_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int, text: str
) -> None:
    fail(monkeypatch, raised)
    result = vlbench("list", "suites")
    assert (result.exit_code, result.stderr) == (code, text)


def test_a_bug_exits_5_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(monkeypatch, ValueError("a slip"))
    monkeypatch.setattr(sys, "argv", ["vlbench", "list", "suites"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 5
    error = capsys.readouterr().err
    assert "Traceback" in error and "a bug in vlbench" in error


PROGRAM = """
import sys
from vlbench.cli.app import app
for words, heavy in {cases}:
    app(words, standalone_mode=False)
    assert not set(heavy) & set(sys.modules), (words, set(heavy) & set(sys.modules))
"""


def test_commands_import_no_more_than_they_need(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, SPEC)
    folder.log.write_text("said\n")
    write(tmp_path, image_text("full", 5, 6, 7, 8), image_text("frozen", 1, 2, 3, 4))
    results = ["--results", str(tmp_path)]
    heavy = ["torch", "transformers", "accelerate", "peft", "pandas"]
    reading = ["torch", "transformers", "accelerate", "matplotlib"]
    cases = [
        *((["list", what], [*heavy, "numpy", "pyarrow"]) for what in ("methods", "suites")),
        (["list", "runs", *results], heavy),
        (["status", *results], heavy),
        (["logs", "mine", *results], heavy),
        (["cancel", "--all", *results], heavy),
        (["report", "--paper", *results], reading),
        (["compare", "full", "frozen", *results], reading),
        (["recommend", *results], reading),
    ]
    code = PROGRAM.format(cases=cases)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


WIDTH = 78
"""Characters of a line of help on a terminal of 80; the runner of the tests allows two more."""


def commands(words: tuple[str, ...] = (), command: Any = None) -> Iterator[tuple[str, ...]]:
    """The words of every command, groups of commands too."""
    command = command or get_command(cli.app)
    yield words
    for name, subcommand in getattr(command, "commands", {}).items():
        yield from commands((*words, name), subcommand)


def help_of(*words: str) -> list[str]:
    result = vlbench(*words, "--help", COLUMNS="80")
    assert result.exit_code == 0
    return result.stdout.splitlines()


def test_the_commands_stand_in_four_groups_each_line_whole() -> None:
    lines = help_of()
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Options:", "Run:", "Look:", "Data:", "Share:"]
    names = [words.split()[0] for group in GROUPS.values() for words in group.values()]
    assert sorted(names) == sorted(get_command(cli.app).commands)
    for name in names:
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        assert line.endswith(".") and not line.endswith("...") and len(line) <= WIDTH


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_help_ends_with_an_example_that_can_be_typed(words: tuple[str, ...]) -> None:
    lines = help_of(*words)
    assert max(map(len, lines)) <= 80 and len(lines[-1]) <= WIDTH
    start, _, typed = lines[-1].partition("Example: vlbench ")
    assert start == "  " and typed.startswith(" ".join(words))
    parse(shlex.split(typed))
