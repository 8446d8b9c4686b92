"""The command line within the test's process, and the commands that its messages suggest."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

from typer.main import get_command
from typer.testing import CliRunner, Result

from vlbench.cli.app import app

COMMAND = re.compile(
    "vlbench (?:run|plan|status|logs|list|cancel|report|compare|verify|results|plot)[^`\n;]*"
)


def vlbench(*words: str | Path, **environment: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, list(map(str, words)), env=environment)


def document(result: Result, what: str = "") -> Any:
    """The JSON that a command printed, whose schema is of `what`."""
    read = json.loads(result.stdout)
    assert not what or read["schema"].rpartition("/")[0] == f"vlbench.{what}"
    return read


def items(result: Result, what: str = "") -> list[dict[str, Any]]:
    """The items of that JSON."""
    read: list[dict[str, Any]] = document(result, what)["items"]
    return read


def assert_refused(result: Result, code: int, *texts: str) -> None:
    """The exit code and one explained message, without an answer."""
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert "Traceback" not in result.output
    assert [text for text in texts if text not in result.stderr] == [], result.stderr


def suggested(text: str) -> list[list[str]]:
    """The words of each command, without `vlbench`; each is one that the command line accepts."""
    commands = [shlex.split(line)[1:] for line in COMMAND.findall(text)]
    for words in commands:
        parse(words)
    return commands


def parse(words: list[str]) -> None:
    """Raise for an unknown command or option, a missing argument, a value of another type."""
    command: Any = get_command(app)
    context = command.make_context("vlbench", list(words))
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        context = command.make_context(name, rest, parent=context)


def option(words: list[str], name: str) -> str:
    """The value of an option of a command."""
    return words[words.index(name) + 1]
