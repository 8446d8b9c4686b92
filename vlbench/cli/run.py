"""`vlbench run`, `plan`, `retry` and `cancel`: begin runs, and end them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vlbench import cli
from vlbench.cli import options as opt
from vlbench.errors import DataError, NothingToReport, RunFailed, UsageError, VlbenchError
from vlbench.text import format_duration, results_option

if TYPE_CHECKING:
    from vlbench.runs.folder import RunFolder
    from vlbench.runs.launch import Outcome, Resources
    from vlbench.runs.spec import RunSpec

WAIT_SECONDS = 60.0
"""Longest wait for cancelled runs: longer than a step, after which they are killed anyway."""
POLL_SECONDS = 0.2
OPEN = ("running", "queued", "planned")
"""States of runs that a command does, or is about to."""
RUNS = opt.argument(None, "Begins of keys, or words such as 'compacter seed 0'.", metavar="RUN...")


@opt.with_options
def run(
    context: typer.Context,
    runs: opt.RunOptions,
    launch: opt.LaunchOptions,
    detach: bool = opt.flag("--detach", "slurm: submit, and do not wait."),
    dry_run: bool = opt.flag("--dry-run", "Print the plan and the commands; start nothing."),
) -> None:
    """Train, score and keep what is not done yet.

    The same command again goes on where it was stopped.
    """
    from vlbench.runs.launch import find_launcher

    resources = launch.resources(detach)
    specs = _specs(context, runs, resources)
    if not dry_run:
        _launch(specs, launch.results, resources, launch.json)
        return
    faults = _print_plan(specs, launch.results, resources, launch.json)
    if not launch.json:
        typer.echo("\n" + find_launcher(resources).dry_run(specs, launch.results))
    cli.end_left_out(faults)


@opt.with_options
def plan(context: typer.Context, runs: opt.RunOptions, launch: opt.LaunchOptions) -> None:
    """Show what `run` would do, and how long; start nothing.

    A run is stale when only an older one of its cell is there: the reason says what changed since.
    """
    resources = launch.resources()
    specs = _specs(context, runs, resources)
    cli.end_left_out(_print_plan(specs, launch.results, resources, launch.json))


def _specs(context: typer.Context, runs: opt.RunOptions, resources: Resources) -> list[RunSpec]:
    from vlbench.runs.launch import find_launcher
    from vlbench.runs.plan import plan

    opt.refuse_outside_code(context)
    return plan(runs.selection(find_launcher(resources).device), cli.note)


@opt.with_options
def retry(context: typer.Context, launch: opt.LaunchOptions, runs: list[str] | None = RUNS) -> None:
    """Go on with runs that failed or were stopped.

    Runs that failed, ran out of memory or time, or were cancelled go on as they were planned;
    without names, all of these.
    """
    from vlbench.runs.folder import ENDINGS
    from vlbench.runs.launch import find_launcher
    from vlbench.runs.spec import RunSpec
    from vlbench.verify.inputs import outside_names, refusal

    opt.refuse_outside_code(context)
    results, resources = launch.results, launch.resources()
    faults: list[DataError] = []
    specs = []
    for folder in _folders(runs, results, faults):
        if runs or folder.state in ENDINGS:
            try:
                specs.append(RunSpec.read(folder.spec_file))
            except DataError as error:
                faults.append(error)
    code = sorted({name for spec in specs for name in outside_names(spec)})
    if code and not launch.outside_code:  # anyone may have written the specs
        raise UsageError(f"{results}: what is to be retried {refusal(code)}.")
    if specs:
        device = find_launcher(resources).device
        moved = [spec.model_copy(update={"device": device}) for spec in specs]
        _launch(moved, results, resources, launch.json, faults)
    elif not faults:
        cli.note(f"{results}: no run ended badly, there is nothing to retry.")
    cli.end_left_out(faults)


def cancel(
    runs: list[str] | None = RUNS,
    everything: bool = opt.flag("--all", "All that are not done."),
    results: Path = opt.RESULTS,
    json: bool = opt.JSON,
) -> None:
    """End runs, whoever does them.

    They write a checkpoint, so that `run` or `retry` goes on from there.
    """
    from vlbench.runs.folder import name_of

    if bool(runs) == everything:
        raise UsageError("cancel: name runs, or give --all. vlbench status shows what runs.")
    faults: list[DataError] = []
    before = {folder: folder.state for folder in _folders(runs, results, faults)}
    for folder, state in before.items():
        try:
            if state != "done":
                _cancel(folder)
        except (OSError, VlbenchError) as error:  # the others are cancelled all the same
            faults.append(DataError(f"{folder.path}: {error}"))
    at_work = [folder for folder, state in before.items() if state == "running"]
    if at_work:
        cli.note(f"waiting for {len(at_work)} runs to end, with a checkpoint")
    deadline = time.monotonic() + WAIT_SECONDS
    while any(run.state == "running" for run in at_work) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    items = [
        {"key": folder.path.name, "run": name_of(folder), "before": state, "status": folder.state}
        for folder, state in before.items()
        if runs or state in OPEN
    ]
    cli.answer("cancel", items, ("key", "run", "before", "status"), json)
    left = sum(item["status"] == "running" for item in items)
    if left:
        raise RunFailed(f"{left} runs are still at work after {WAIT_SECONDS:.0f} s.")
    cli.end_left_out(faults)


def _folders(
    texts: Sequence[str] | None, results: Path, faults: list[DataError]
) -> list[RunFolder]:
    """The runs that the words name, without repetitions; without words all that are not done."""
    from vlbench.runs.folder import RunFolder, find_run

    if texts:
        named = [find_run(results, text) for text in texts]
        return list({folder.path: folder for folder in named}.values())
    folders = RunFolder.all(results, faults)
    if not folders and not faults:
        raise NothingToReport(f"{results}: no runs here (looked for runs/*/spec.json).")
    return [folder for folder in folders if not folder.is_done]


def _cancel(folder: RunFolder) -> None:
    """Have the run end: the worker at work, the job that waits, the launcher that has it next."""
    folder.ask_cancel()
    if folder.job().get("launcher") == "slurm":
        from vlbench.runs.slurm import cancel_job

        cancel_job(folder)


def _launch(
    specs: Sequence[RunSpec],
    results: Path,
    resources: Resources,
    json: bool,
    faults: Sequence[DataError] = (),
) -> None:
    """Do the runs, print their metrics, and raise what became of those that failed.

    `faults` are of runs that are left out; those of results that cannot be read are added.
    """
    from vlbench.runs.folder import RunFolder
    from vlbench.runs.launch import launch
    from vlbench.runs.watch import new_view
    from vlbench.verify.inputs import read_rows

    to_do = sum(not RunFolder.of(results, spec).is_done for spec in specs)
    outcomes = launch(specs, results, resources, new_view(to_do))
    done = [outcome.folder for outcome in outcomes if outcome.status == "done"]
    failed = [outcome for outcome in outcomes if outcome.exit_code]
    items: list[dict[str, Any]] = []
    unreadable = list(faults)
    for folder in done:
        try:
            items += [row for row in read_rows(folder.result)[0] if row["split"] == "test"]
        except DataError as error:
            mend = "Remove the file, and the same command does the run again."
            unreadable.append(DataError(f"{folder.result}: {error}. {mend}"))
    if json:
        cli.print_json("run", items)
    elif items:
        _print_metrics(items, is_single=len(specs) == 1)
    if failed:
        cli.end_left_out(unreadable, is_failure=False)
        raise _failure(failed, len(specs))
    is_whole = len(done) == len(specs)
    more = "The table: vlbench report" if is_whole else "The others go on: vlbench status"
    cli.note(f"{len(done)} of {len(specs)} runs done. {more}{results_option(results)}")
    cli.end_left_out(unreadable)


def _print_metrics(items: list[dict[str, Any]], is_single: bool) -> None:
    """Print the metrics; of a single run those of each question family, beside the majority."""
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
    cli.print_table(rows, ("run", "metric", "value", "majority", "n"))


def _failure(failed: Sequence[Outcome], count: int) -> VlbenchError:
    """One error for all that failed, with the reason and the log of each."""
    begun = [outcome for outcome in failed if outcome.status != "planned"]
    waiting = len(failed) - len(begun)
    more = f", {waiting} were not started" if waiting else ""
    lines = [f"{run.spec.name}: {run.error}\n  {run.folder.log}" for run in begun]
    error = RunFailed("\n".join([f"{len(begun)} of {count} runs failed{more}:", *lines]))
    error.exit_code = failed[-1].exit_code
    return error


def _print_plan(
    specs: Sequence[RunSpec], results: Path, resources: Resources, json: bool
) -> list[DataError]:
    """Print the state of every run, and what the rest will take; return what cannot be read."""
    from vlbench.runs.state import Estimates, cells, counted

    device = _device_name(resources)
    estimates = Estimates(results, device)
    planned = list(cells(specs, results))
    items: list[dict[str, Any]] = []
    rows: list[list[str]] = []
    for cell in planned:
        spec = cell.spec
        estimate = None if cell.state == "done" else estimates.of(spec)
        about = "~" if estimate and estimate.is_rough else ""
        duration = about + format_duration(estimate.seconds) if estimate else ""
        memory = f"{about}{estimate.peak_memory_bytes / 1e9:.2f} GB" if estimate else ""
        state = {"state": cell.state, "reason": cell.reason, "older_key": cell.older}
        items.append({**spec.facts, **state, "estimate": estimate and asdict(estimate)})
        name = ", ".join([spec.method.name, *spec.overrides, f"seed {spec.seed}"])
        rows.append([name, cell.state, spec.key, duration, memory, cell.reason])
    if json:
        cli.print_json("plan", items)
    else:
        cli.print_table(rows, ("run", "state", "key", "time", "memory", "reason"))
        cli.say(f"\n{counted([item['state'] for item in items])}.")
        cli.say(_total_time(items, device.removesuffix(": "), resources))
    return [fault for cell in planned for fault in cell.folder.all_faults()]


def _device_name(resources: Resources) -> str:
    """The device as earlier results name it; of a cluster's any of its kind will do."""
    import torch

    from vlbench.runs.launch import find_launcher
    from vlbench.runs.result import device_name

    device = find_launcher(resources).device
    is_elsewhere = resources.launcher != "local"
    name = f"{device}: " if is_elsewhere else device_name(torch.device(device))
    return f"{resources.processes} x {name}" if resources.processes > 1 else name


def _total_time(items: list[dict[str, Any]], machine: str, resources: Resources) -> str:
    """What the runs that are not done will take together."""
    from vlbench.runs.local import find_slots
    from vlbench.runs.state import total_seconds

    is_local = resources.launcher == "local"
    slots = len(find_slots(resources)) if is_local else resources.slurm.array_parallelism
    estimates = [item["estimate"] for item in items if item["estimate"]]
    to_do = sum(item["state"] != "done" for item in items)
    if not estimates:
        return f"No estimate: no earlier runs on {machine} with these data." if to_do else ""
    left = total_seconds([estimate["seconds"] for estimate in estimates], slots)
    rough = " (~: of other methods)" * any(estimate["is_rough"] for estimate in estimates)
    return (
        f"About {format_duration(left)} for {len(estimates)} of {to_do} runs, {slots} at once, by "
        f"what earlier runs took on {machine}{rough}."
    )
