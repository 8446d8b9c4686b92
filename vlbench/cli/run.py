"""`vlbench run`, `plan`, `retry` and `cancel`: begin runs, and end them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlbench.cli.options import (
    Json,
    LaunchOptions,
    Results,
    RunOptions,
    refuse_outside_code,
    with_options,
)
from vlbench.cli.output import end_left_out, note, print_json, print_table, say
from vlbench.errors import DataError, NothingToReport, RunFailed, UsageError, VlbenchError
from vlbench.text import results_option

if TYPE_CHECKING:
    from vlbench.runs.folder import RunFolder
    from vlbench.runs.launch import Outcome, Resources
    from vlbench.runs.spec import RunSpec
    from vlbench.runs.state import Cell, Estimate

WAIT_SECONDS = 60.0
"""Longest wait for cancelled runs: longer than a step, after which they are killed anyway."""
POLL_SECONDS = 0.2
OPEN = ("running", "queued", "planned")
"""States of runs that a command does, or is about to."""
DAMAGED = "Remove the file, and the same command does the run again."
Runs = Annotated[
    list[str] | None,
    typer.Argument(metavar="RUN...", help="Begins of keys, or words such as 'compacter seed 0'."),
]


@with_options
def run(
    context: typer.Context,
    options: RunOptions,
    detach: Annotated[
        bool, typer.Option("--detach", help="slurm: submit, and do not wait.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the plan and the commands or scripts; start nothing."
        ),
    ] = False,
) -> None:
    """Train, score and keep what is not done yet.

    The same command again goes on where it was stopped.
    """
    resources, device, specs = _planned(context, options, detach)
    if not dry_run:
        _launch(specs, options.results, resources, options.json)
        return
    from vlbench.runs.launch import find_launcher

    faults = _show_plan(specs, options, resources, device)
    if not options.json:
        typer.echo("\n" + find_launcher(resources).dry_run(specs, options.results))
    end_left_out(faults)


@with_options
def plan(context: typer.Context, options: RunOptions) -> None:
    """Show what `run` would do, and how long; start nothing.

    A run is stale when only an older one of its cell is there: the reason says what changed since.
    """
    resources, device, specs = _planned(context, options)
    end_left_out(_show_plan(specs, options, resources, device))


@with_options
def retry(context: typer.Context, options: LaunchOptions, runs: Runs = None) -> None:
    """Go on with runs that failed or were stopped.

    Runs that failed, ran out of memory or time, or were cancelled go on as they were planned;
    without names, all of these.
    """
    from vlbench.runs.folder import ENDINGS
    from vlbench.runs.launch import find_launcher
    from vlbench.runs.spec import RunSpec
    from vlbench.verify.inputs import outside_names, refusal

    refuse_outside_code(context)
    results, resources = options.results, options.resources()
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
    code = sorted({name for spec in specs for name in outside_names(spec)})
    if code and not options.outside_code:  # anyone may have written the specs
        raise UsageError(f"{results}: what is to be retried {refusal(code)}.")
    if specs:
        moved = [spec.model_copy(update={"device": device}) for spec in specs]
        _launch(moved, results, resources, options.json, faults)
    elif not faults:
        note(f"{results}: no run ended badly, there is nothing to retry.")
    end_left_out(faults)


def cancel(
    runs: Runs = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are not done.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Until those at work have ended.")
    ] = True,
    results: Results = Path("results"),
    json: Json = False,
) -> None:
    """End runs, whoever does them.

    They write a checkpoint, so that `run` or `retry` goes on from there.
    """
    if bool(runs) == everything:
        raise UsageError("cancel: name runs, or give --all. vlbench status shows what runs.")
    faults: list[DataError] = []
    folders = _named(runs, results) if runs else _not_done(results, faults)
    before = {folder.path: folder.state for folder in folders}
    refused: list[VlbenchError] = []
    for folder in folders:
        try:
            _cancel(folder, before[folder.path])
        except VlbenchError as error:  # the others are cancelled all the same
            refused.append(error)
    at_work = [folder for folder in folders if before[folder.path] == "running"]
    if at_work and wait:
        _wait(at_work)
    items = [
        _outcome(folder, before[folder.path])
        for folder in folders
        if runs or before[folder.path] in OPEN
    ]
    if json:
        print_json("cancel", items)
    elif items:
        columns = ("key", "run", "outcome")
        print_table([[item[column] for column in columns] for item in items], columns)
    else:
        note(f"{results}: no run is at work, or about to begin.")
    left = sum(folder.state == "running" for folder in at_work)
    if left and wait:
        raise RunFailed(f"{left} runs are still at work after {WAIT_SECONDS:.0f} s.")
    for refusal in refused[1:]:
        note(f"vlbench: {refusal}")
    if refused:
        raise refused[0]
    end_left_out(faults)


def _planned(
    context: typer.Context, options: RunOptions, detach: bool = False
) -> tuple[Resources, str, list[RunSpec]]:
    """What runs may use, the kind of device that they use, and their specs."""
    from vlbench.runs.launch import find_launcher
    from vlbench.runs.plan import plan

    refuse_outside_code(context)
    resources = options.resources(detach)
    device = find_launcher(resources).device
    return resources, device, plan(options.selection(device), note)


def _launch(
    specs: Sequence[RunSpec],
    results: Path,
    resources: Resources,
    json: bool,
    faults: Sequence[DataError] = (),
) -> None:
    """Do the runs, print their metrics, and raise what became of those that failed.

    `faults` are of runs that are left out; those of results that cannot be read come to them.
    """
    from vlbench.runs.folder import RunFolder
    from vlbench.runs.launch import launch
    from vlbench.runs.watch import new_view

    to_do = sum(not RunFolder.of(results, spec).is_done for spec in specs)
    outcomes = launch(specs, results, resources, new_view(to_do))
    items: list[dict[str, Any]] = []
    unreadable = list(faults)
    for outcome in outcomes:
        if outcome.status == "done":
            try:
                items += _test_rows(outcome)
            except DataError as error:
                unreadable.append(DataError(f"{outcome.folder.result}: {error}. {DAMAGED}"))
    if json:
        print_json("run", items)
    else:
        _show_metrics(items, is_single=len(specs) == 1)
    failed = [outcome for outcome in outcomes if outcome.exit_code]
    if failed:
        for fault in unreadable:
            note(f"Left out: {fault}")
        raise _failure(failed, len(specs))
    done = sum(outcome.status == "done" for outcome in outcomes)
    more = "The others go on: vlbench status" if done < len(specs) else "The table: vlbench report"
    note(f"{done} of {len(specs)} runs done. {more}{results_option(results)}")
    end_left_out(unreadable)


def _failure(failed: Sequence[Outcome], count: int) -> VlbenchError:
    """One error for all that failed, with the reason and the log of each."""
    begun = [outcome for outcome in failed if outcome.status != "planned"]
    waiting = len(failed) - len(begun)
    more = f", {waiting} were not started" if waiting else ""
    lines = [f"{run.spec.name}: {run.error}\n  {run.folder.log}" for run in begun]
    error = RunFailed("\n".join([f"{len(begun)} of {count} runs failed{more}:", *lines]))
    error.exit_code = failed[-1].exit_code
    return error


def _test_rows(outcome: Outcome) -> list[dict[str, Any]]:
    from vlbench.verify.inputs import read_rows

    rows, _ = read_rows(outcome.folder.result)
    return [row for row in rows if row["split"] == "test"]


def _show_metrics(items: list[dict[str, Any]], is_single: bool) -> None:
    """The metrics; of a single run those of each question family too, beside the majority."""
    rows = [
        [
            f"{row['method']} seed {row['seed']}",
            row["metric"] if not row["family"] else f"  {row['family']}",
            f"{row['value']:.2f}",
            "" if row["majority"] is None else f"{row['majority']:.2f}",
            f"{row['n_examples']:,}",
        ]
        for row in items
        if is_single or (row["main"] and not row["family"])
    ]
    if rows:
        print_table(rows, ("run", "metric", "value", "majority", "n"))


def _show_plan(
    specs: Sequence[RunSpec], options: RunOptions, resources: Resources, device: str
) -> list[DataError]:
    """Print the state of every run, and what the rest will take; return what cannot be read."""
    from vlbench.runs.state import Estimates, cells

    planned = cells(specs, options.results)
    device_name = _device_name(device, resources)
    estimates = Estimates(options.results, device_name)
    expected = {
        cell.spec.key: None if cell.state == "done" else estimates.of(cell.spec) for cell in planned
    }
    if options.json:
        print_json("plan", [_plan_item(cell, expected[cell.spec.key]) for cell in planned])
    else:
        rows = [_plan_row(cell, expected[cell.spec.key]) for cell in planned]
        print_table(rows, ("run", "state", "key", "time", "memory", "reason"))
        say("\n" + "\n".join(_plan_summary(planned, expected, device_name, resources)))
    return [fault for cell in planned for fault in cell.folder.all_faults()]


def _device_name(device: str, resources: Resources) -> str:
    """The device as earlier results name it; of a cluster's any of its kind will do."""
    import torch

    from vlbench.runs.result import device_name

    is_elsewhere = resources.launcher != "local"
    name = f"{device}: " if is_elsewhere else device_name(torch.device(device))
    return f"{resources.processes} x {name}" if resources.processes > 1 else name


def _plan_item(cell: Cell, estimate: Estimate | None) -> dict[str, Any]:
    names = ("seconds", "peak_memory_bytes", "runs", "is_rough")
    return {
        **cell.spec.facts,
        "state": cell.state,
        "reason": cell.reason,
        "older_key": cell.older,
        "estimate": estimate and {name: getattr(estimate, name) for name in names},
    }


def _plan_row(cell: Cell, estimate: Estimate | None) -> list[str]:
    from vlbench.text import format_duration

    spec = cell.spec
    run = ", ".join([spec.method.name, *spec.overrides, f"seed {spec.seed}"])
    duration = memory = ""
    if estimate is not None:
        about = "~" if estimate.is_rough else ""
        duration = about + format_duration(estimate.seconds)
        memory = f"{about}{estimate.peak_memory_bytes / 1e9:.2f} GB"
    return [run, cell.state, spec.key, duration, memory, cell.reason]


def _plan_summary(
    cells: Sequence[Cell],
    expected: dict[str, Estimate | None],
    device_name: str,
    resources: Resources,
) -> list[str]:
    """How many runs are in which state, and what those that are not done will take together."""
    from vlbench.runs.local import find_slots
    from vlbench.runs.state import counted, total_seconds
    from vlbench.text import format_duration

    is_local = resources.launcher == "local"
    slots = len(find_slots(resources)) if is_local else resources.slurm.array_parallelism
    known = [estimate for estimate in expected.values() if estimate is not None]
    to_do = sum(cell.state != "done" for cell in cells)
    lines = [f"{counted([cell.state for cell in cells])}."]
    machine = device_name.removesuffix(": ")
    if known:
        left = format_duration(total_seconds([estimate.seconds for estimate in known], slots))
        of = f"{to_do} runs" if len(known) == to_do else f"{len(known)} of {to_do} runs"
        rough = " (~: of other methods)" * any(estimate.is_rough for estimate in known)
        lines.append(
            f"About {left} for {of}, {slots} at once, by what training and testing took in "
            f"earlier runs on {machine}{rough}."
        )
    elif to_do:
        lines.append(f"No estimate: no earlier runs on {machine} with these data.")
    return lines


def _named(texts: Sequence[str], results: Path) -> list[RunFolder]:
    """The runs that the words name, without repetitions."""
    from vlbench.runs.folder import find_run

    folders = [find_run(results, text) for text in texts]
    return list({folder.path: folder for folder in folders}.values())


def _not_done(results: Path, faults: list[DataError]) -> list[RunFolder]:
    from vlbench.runs.folder import RunFolder

    folders = RunFolder.all(results, faults)
    if not folders and not faults:
        raise NothingToReport(f"{results}: no runs here (looked for runs/*/spec.json).")
    return [folder for folder in folders if not folder.is_done]


def _cancel(folder: RunFolder, state: str) -> None:
    """Have the run end: the worker at work, the job that waits, the launcher that has it next."""
    if state == "done":
        return
    try:
        folder.ask_cancel()
    except OSError as error:
        raise RunFailed(f"{folder.path}: cannot be written: {error.strerror}") from None
    if folder.job().get("launcher") == "slurm":
        from vlbench.runs.slurm import cancel_job

        cancel_job(folder)


def _wait(folders: Sequence[RunFolder]) -> None:
    count = len(folders)
    note(f"waiting for {count} run{'s' if count > 1 else ''} to end, with a checkpoint")
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and any(folder.state == "running" for folder in folders):
        time.sleep(POLL_SECONDS)


def _outcome(folder: RunFolder, before: str) -> dict[str, str]:
    """What became of a run that was to end."""
    from vlbench.runs.folder import name_of

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
