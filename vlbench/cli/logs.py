"""`vlbench logs`: what a run said."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli import selectors
from vlbench.cli.output import note, say
from vlbench.errors import NothingToReport

if TYPE_CHECKING:
    from vlbench.running.folder import RunFolder
    from vlbench.running.watch import Tail

FOLLOW_SECONDS = 0.5
AT_WORK = ("running", "queued")


def logs(
    run: Annotated[
        str, typer.Argument(help="The begin of its key, or words such as 'compacter seed 0'.")
    ],
    follow: Annotated[bool, typer.Option("--follow", help="Go on while the run does.")] = False,
    lines: Annotated[
        int | None,
        typer.Option(min=0, max=selectors.MOST, help="The last so many lines; all without."),
    ] = None,
    results: selectors.Results = Path("results"),
) -> None:
    """Print the log of a run, of all its attempts."""
    from vlbench.running.folder import find_run
    from vlbench.running.watch import Tail

    folder = find_run(results, run)
    state = folder.state
    is_followed = follow and state in AT_WORK
    if not folder.log.is_file() and not is_followed:
        raise NothingToReport(f"{folder.path}: no log yet, the run is {state}.")
    tail = Tail(folder.log, is_whole=True)
    said = tail.lines() if is_followed else tail.rest()
    for line in said if lines is None else said[len(said) - min(lines, len(said)) :]:
        say(line)
    if is_followed:
        _follow(folder, tail)


def _follow(folder: RunFolder, tail: Tail) -> None:
    """New lines until the run ends or Ctrl-C."""
    try:
        while folder.state in AT_WORK:
            time.sleep(FOLLOW_SECONDS)
            for line in tail.lines():
                say(line)
    except KeyboardInterrupt:
        return
    for line in tail.rest():
        say(line)
    note(f"The run is {folder.state}.")
