"""A tool's command line, with the messages and exit codes of vlbench."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from vlbench.cli import note
from vlbench.errors import VlbenchError


def run_command(command: Callable[..., None], name: str) -> None:
    """Run `python -m NAME`; an error that vlbench explains ends in its message and exit code."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(command)
    try:
        app(prog_name=f"python -m {name}")
    except VlbenchError as error:
        note(f"vlbench: {error}")
        sys.exit(error.exit_code)
