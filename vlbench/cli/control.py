"""`vlbench cancel` and `vlbench retry`: end runs, and start again what ended badly."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli import selectors
from vlbench.cli.config import refuse_outside_code
from vlbench.cli.output import end_left_out, note, print_json, print_table
from vlbench.cli.run import Devices, Jobs, Launcher, Processes, TimeLimit, do, resources_of
from vlbench.errors import DataError, RunFailed, UsageError, VlbenchError

if TYPE_CHECKING:
    from vlbench.running.folder import RunFolder

WAIT_SECONDS = 60.0
"""A step in training may take its time; whoever was told to stop is killed before that."""
POLL_SECONDS = 0.2
OPEN = ("running", "queued", "planned")
"""What a command may do, or be about to."""

Runs = Annotated[
    list[str] | None,
    typer.Argument(metavar="RUN...", help="Begins of keys, or words such as 'compacter seed 0'."),
]


def cancel(
    runs: Runs = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are not done.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Until those at work have ended.")
    ] = True,
    results: selectors.Results = Path("results"),
    json: selectors.Json = False,
) -> None:
    """End runs, whoever does them; with a checkpoint, so that `run` or `retry` goes on."""
    if bool(runs) == everything:
        raise UsageError("cancel: name runs, or give --all. vlbench status shows what runs.")
    faults: list[DataError] = []
    folders = _named(runs, results) if runs else _not_done(results, faults)
    before = {folder.path: folder.state for folder in folders}
    refused: list[VlbenchError] = []
    for folder in folders:
        try:
            _ask(folder, before[folder.path])
        except VlbenchError as error:  # the others are asked all the same
            refused.append(error)
    at_work = [folder for folder in folders if before[folder.path] == "running"]
    if at_work and wait:
        _wait(at_work)
    left = [folder for folder in at_work if folder.state == "running"]
    shown = folders if runs else [each for each in folders if before[each.path] in OPEN]
    items = [_outcome(folder, before[folder.path]) for folder in shown]
    if json:
        print_json("cancel", items)
    elif items:
        print_table([[item["key"], item["run"], item["outcome"]] for item in items], HEADINGS)
    else:
        note(f"{results}: no run is at work, or about to begin.")
    if left and wait:
        raise RunFailed(f"{len(left)} runs are still at work after {WAIT_SECONDS:.0f} s.")
    for refusal in refused[1:]:
        note(f"vlbench: {refusal}")
    if refused:
        raise refused[0]
    end_left_out(faults)


HEADINGS = ("key", "run", "outcome")


def retry(
    context: typer.Context,
    runs: Runs = None,
    launcher: Launcher = "local",
    devices: Devices = "auto",
    jobs: Jobs = 1,
    processes: Processes = 1,
    time_limit: TimeLimit = None,
    results: selectors.Results = Path("results"),
    outside_code: selectors.OutsideCode = False,
    json: selectors.Json = False,
) -> None:
    """Go on with runs that failed, ran out of memory or time, were cancelled or stopped.

    As they were planned; without names, all of these.
    """
    from vlbench.running.folder import ENDINGS
    from vlbench.running.launchers import find_launcher
    from vlbench.running.spec import RunSpec
    from vlbench.verifying.trust import outside_names, refusal

    refuse_outside_code(context)
    resources = resources_of(launcher, devices, jobs, processes, time_limit)
    device = find_launcher(resources).device
    faults: list[DataError] = []
    folders = _named(runs, results) if runs else _not_done(results, faults)
    specs = []
    for folder in folders:
        if runs or folder.state in ENDINGS:
            try:
                specs.append(RunSpec.read(folder.spec_file))
            except DataError as error:
                faults.append(error)
    named = sorted({name for spec in specs for name in outside_names(spec)})
    if named and not outside_code:  # anyone may have written the specs
        raise UsageError(f"{results}: what is to be retried {refusal(named)}.")
    if specs:
        moved = [spec.model_copy(update={"device": device}) for spec in specs]
        do(moved, results, resources, json, faults)
    elif not faults:
        note(f"{results}: no run ended badly, there is nothing to retry.")
    end_left_out(faults)


def _named(texts: Sequence[str], results: Path) -> list[RunFolder]:
    """The runs that the words name, each once."""
    from vlbench.running.folder import find_run

    found = [find_run(results, text) for text in texts]
    return list({folder.path: folder for folder in found}.values())


def _not_done(results: Path, faults: list[DataError]) -> list[RunFolder]:
    from vlbench.errors import NothingToReport
    from vlbench.running.folder import RunFolder

    folders = RunFolder.all(results, faults)
    if not folders and not faults:
        raise NothingToReport(f"{results}: no runs here (looked for runs/*/spec.json).")
    return [folder for folder in folders if not folder.is_done]


def _ask(folder: RunFolder, state: str) -> None:
    """Have the run end: the worker at work, the job that waits, the launcher that has it next."""
    if state == "done":
        return
    try:
        folder.ask_cancel()
    except OSError as error:
        raise RunFailed(f"{folder.path}: cannot be written: {error.strerror}") from None
    if folder.job().get("launcher") == "slurm":
        from vlbench.running.launchers.slurm_job import cancel_job

        cancel_job(folder)


def _wait(folders: Sequence[RunFolder]) -> None:
    count = len(folders)
    note(f"waiting for {count} run{'s' if count > 1 else ''} to end, with a checkpoint")
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and any(each.state == "running" for each in folders):
        time.sleep(POLL_SECONDS)


def _outcome(folder: RunFolder, before: str) -> dict[str, str]:
    """What became of a run that was to end."""
    from vlbench.running.folder import name_of

    now = folder.state
    text = f"{before} before: does not begin again"
    if before in ("done", "planned"):
        text = {"done": "done: nothing to cancel", "planned": "will not begin"}[before]
    elif now == "running":
        text = "told to end"
    elif before in ("running", "queued"):
        text = now
    name = name_of(folder)
    return {"key": folder.path.name, "run": name, "before": before, "status": now, "outcome": text}
