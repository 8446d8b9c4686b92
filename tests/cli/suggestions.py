"""The commands that a message suggests, parsed as the shell and the command line would."""

from __future__ import annotations

import re
import shlex
from typing import Any

from typer.main import get_command

from vlbench.cli.app import app

COMMAND = re.compile(
    "vlbench (?:run|plan|status|logs|list|cancel|report|compare|verify|results|plot)[^`\n;]*"
)


def suggested(text: str) -> list[list[str]]:
    """The words of each command, without `vlbench`; each is one that the command line accepts."""
    found = [shlex.split(each)[1:] for each in COMMAND.findall(text)]
    for words in found:
        parse(words)
    return found


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
