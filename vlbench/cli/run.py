"""`vlbench run`, `plan`, `retry` and `cancel`: begin runs, and end them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vlbench import cli
from vlbench.cli import options as opt
from vlbench.errors import DataError, RunFailed, UsageError, VlbenchError
from vlbench.text import results_option

if TYPE_CHECKING:
    from vlbench.runs.folder import RunFolder
    from vlbench.runs.launch import Launcher, Outcome
    from vlbench.runs.spec import RunSpec

OPEN = ("running", "queued", "planned")
"""States of runs that a command does, or is about to."""
GOES_ON = ("preempted", "stopped")
"""States that a cluster may still have a job for."""
RUNS = opt.argument(None, "Begins of keys, or words such as 'compacter seed 0'.", metavar="RUN...")


@opt.with_options
def run(
    context: typer.Context,
    runs: opt.RunOptions,
    launch: opt.LaunchOptions,
    dry_run: bool = opt.flag("--dry-run", "Print the plan and the commands; start nothing."),
) -> None:
    """Train, score and keep what is not done yet.

    The same command again goes on where it was stopped.
    """
    from vlbench.runs.launch import find_launcher

    launcher = find_launcher(launch.resources())
    if not dry_run:
        with launcher.warm():
            _launch(_specs(context, runs, launcher), launch.results, launcher, launch.json)
        return
    specs = _specs(context, runs, launcher)
    faults = _print_plan(specs, launch.results, launch.json)
    if not launch.json:
        typer.echo("\n" + launcher.dry_run(specs, launch.results))
    cli.end_left_out(faults)


@opt.with_options
def plan(context: typer.Context, runs: opt.RunOptions, launch: opt.LaunchOptions) -> None:
    """Show what `run` would do and how much memory it needs.

    A run is stale when only an older one of its cell is there: the reason says what changed since.
    """
    from vlbench.runs.launch import find_launcher

    specs = _specs(context, runs, find_launcher(launch.resources()))
    cli.end_left_out(_print_plan(specs, launch.results, launch.json))


def _specs(context: typer.Context, runs: opt.RunOptions, launcher: Launcher) -> list[RunSpec]:
    from vlbench.runs.plan import plan

    opt.refuse_outside_code(context)
    return plan(runs.selection(launcher.device), cli.note)


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
    results, launcher = launch.results, find_launcher(launch.resources())
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
        moved = [spec.model_copy(update={"device": launcher.device}) for spec in specs]
        _launch(moved, results, launcher, launch.json, faults)
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
    if bool(runs) == everything:
        raise UsageError("cancel: name runs, or give --all. vlbench status shows what runs.")
    from vlbench.runs.slurm import cancel_job

    faults: list[DataError] = []
    before = {folder: folder.state for folder in _folders(runs, results, faults)}
    for folder, state in before.items():
        try:
            if state in (*OPEN, *GOES_ON):
                folder.cancel_file.touch()
                if folder.job().get("launcher") == "slurm":
                    cancel_job(folder)
        except (OSError, VlbenchError) as error:  # the others are cancelled all the same
            faults.append(DataError(f"{folder.path}: {error}"))
    items = [
        {"key": folder.path.name, "run": folder.name, "before": state, "status": folder.state}
        for folder, state in before.items()
        if runs or state in OPEN
    ]
    cli.answer("cancel", items, ("key", "run", "before", "status"), json)
    if at_work := sum(item["status"] == "running" for item in items):
        cli.note(f"{at_work} runs write a checkpoint and end: vlbench status shows when.")
    cli.end_left_out(faults)


def _folders(
    texts: Sequence[str] | None, results: Path, faults: list[DataError]
) -> list[RunFolder]:
    """The runs that the words name, without repetitions; without words all that are not done."""
    from vlbench.runs.folder import find_run, some_runs

    if texts:
        named = [find_run(results, text) for text in texts]
        return list({folder.path: folder for folder in named}.values())
    return [folder for folder in some_runs(results, faults) if not folder.is_done]


def _launch(
    specs: Sequence[RunSpec],
    results: Path,
    launcher: Launcher,
    json: bool,
    faults: Sequence[DataError] = (),
) -> None:
    """Do the runs, print their main metrics, and raise what became of those that failed.

    `faults` are of runs that are left out; those of results that cannot be read are added.
    """
    from vlbench.runs.folder import RunFolder
    from vlbench.runs.sums import RESULT
    from vlbench.runs.watch import new_view
    from vlbench.verify.inputs import read_rows

    to_do = sum(not RunFolder.of(results, spec).is_done for spec in specs)
    outcomes = launcher.run(specs, results, new_view(to_do))
    done = [outcome.folder for outcome in outcomes if outcome.status == "done"]
    failed = [outcome for outcome in outcomes if outcome.exit_code]
    items: list[dict[str, Any]] = []
    unreadable = list(faults)
    for folder in done:
        try:
            items += [row for row in read_rows(folder.stored / RESULT) if row["split"] == "test"]
        except DataError as error:
            unreadable.append(DataError(f"{error}. Remove the file, and start the run again."))
    if json:
        cli.print_json("run", items)
    elif items:
        rows = [
            [f"{row['method']} seed {row['seed']}", row["metric"], f"{row['value']:.2f}"]
            for row in items
            if row["main"] and not row["family"]
        ]
        cli.print_table(rows, ("run", "metric", "value"))
    if failed:
        cli.end_left_out(unreadable, is_failure=False)
        raise _failure(failed, len(specs))
    is_whole = len(done) == len(specs)
    more = "The table: vlbench report" if is_whole else "The others go on: vlbench status"
    cli.note(f"{len(done)} of {len(specs)} runs done. {more}{results_option(results)}")
    cli.end_left_out(unreadable)


def _failure(failed: Sequence[Outcome], count: int) -> VlbenchError:
    """One error for all that failed, with the reason and the log of each."""
    begun = [outcome for outcome in failed if outcome.status != "planned"]
    waiting = len(failed) - len(begun)
    more = f", {waiting} were not started" if waiting else ""
    lines = [f"{run.spec.name}: {run.error}\n  {run.folder.log}" for run in begun]
    error = RunFailed("\n".join([f"{len(begun)} of {count} runs failed{more}:", *lines]))
    error.exit_code = failed[-1].exit_code
    return error


def _print_plan(specs: Sequence[RunSpec], results: Path, json: bool) -> list[DataError]:
    """Print the state of every run; return what cannot be read."""
    from vlbench.runs.memory import estimate
    from vlbench.runs.state import cells, counted

    planned = cells(specs, results)
    estimates = {name: estimate(s) for name, s in {s.method.name: s for s in specs}.items()}
    items: list[dict[str, Any]] = []
    rows: list[list[str]] = []
    for cell in planned:
        spec, state = cell.spec, {"state": cell.state, "reason": cell.reason}
        memory = estimates[spec.method.name]
        items.append({**spec.facts, **state, "older_key": cell.older, "memory": memory._asdict()})
        name = ", ".join([spec.method.name, *spec.overrides, f"seed {spec.seed}"])
        rows.append([name, cell.state, spec.key, memory.text, cell.reason])
    if json:
        cli.print_json("plan", items)
    else:
        cli.print_table(rows, ("run", "state", "key", "memory", "reason"))
        cli.say(f"\n{counted([item['state'] for item in items])}.")
    return [fault for cell in planned for fault in cell.folder.faults()]
