"""`vlbench run`: train, score and keep the runs that are not done yet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlbench.cli import selectors
from vlbench.cli.config import refuse_outside_code
from vlbench.cli.output import end_left_out, note, print_json, print_table
from vlbench.cli.selectors import select
from vlbench.errors import DataError, RunFailed, UsageError, VlbenchError
from vlbench.text import results_option

if TYPE_CHECKING:
    from vlbench.running.launchers import Outcome, Resources
    from vlbench.running.spec import RunSpec
    from vlbench.training.parts import MaxBatch

Launcher = Annotated[str, typer.Option(help="local (this machine) or slurm.")]
Devices = Annotated[str, typer.Option(help="auto, cpu, or GPUs' numbers with commas between.")]
Jobs = Annotated[int, typer.Option(min=1, max=selectors.MOST, help="Runs at once on the CPU.")]
Processes = Annotated[
    int, typer.Option(min=1, max=selectors.MOST, help="Processes (GPUs) that share one run.")
]
TimeLimit = Annotated[
    float | None, typer.Option(min=0.01, help="Minutes that an attempt at a run may take.")
]

AtOnce = Annotated[
    str | None,
    typer.Option(
        help="Examples computed at once: a number, or auto for what fits. Batches stay the card's."
    ),
]
Checkpointing = Annotated[
    bool,
    typer.Option("--checkpoint-activations", help="Less memory: activations are computed twice."),
]


def run(
    context: typer.Context,
    method: selectors.Method,
    tasks: selectors.Tasks,
    backbone: selectors.Backbone = "mini-bart",
    backbone_path: selectors.BackbonePath = None,
    init: selectors.Init = None,
    edition: selectors.Edition = None,
    root: selectors.Root = None,
    encoder: selectors.Encoder = None,
    features: selectors.Features = None,
    seeds: selectors.Seeds = "0",
    limit: selectors.Limit = None,
    settings: selectors.Settings = None,
    launcher: Launcher = "local",
    devices: Devices = "auto",
    jobs: Jobs = 1,
    processes: Processes = 1,
    time_limit: TimeLimit = None,
    max_batch: AtOnce = None,
    checkpoint_activations: Checkpointing = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="slurm: submit, and do not wait.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the plan and the commands or scripts; start nothing."
        ),
    ] = False,
    results: selectors.Results = Path("results"),
    outside_code: selectors.OutsideCode = False,
    json: selectors.Json = False,
) -> None:
    """Train, score and keep what is not done yet; the same command again goes on."""
    from vlbench.running.launchers import find_launcher
    from vlbench.running.plan import plan

    refuse_outside_code(context)
    resources = resources_of(launcher, devices, jobs, processes, time_limit, detach)
    starter = find_launcher(resources)
    asked = select(
        method=method,
        tasks=tasks,
        backbone=backbone,
        backbone_path=backbone_path,
        init=init,
        edition=edition,
        root=root,
        encoder=encoder,
        features=features,
        seeds=seeds,
        limit=limit,
        settings=settings,
        device=starter.device,
        max_batch=examples_at_once(max_batch),
        checkpoint_activations=checkpoint_activations,
    )
    specs = plan(asked, note)
    if dry_run:
        from vlbench.cli.plan import show_plan

        faults = show_plan(specs, results, resources, starter.device, json)
        if not json:
            typer.echo("\n" + starter.dry_run(specs, results))
        end_left_out(faults)
        return
    do(specs, results, resources, json)


def examples_at_once(asked: str | None) -> MaxBatch:
    """What `--max-batch` says."""
    if asked is None or asked == "auto":
        return "auto" if asked else None
    if not asked.isascii() or not asked.isdecimal() or len(asked) > 9 or int(asked) < 1:
        raise UsageError(f"--max-batch {asked}: should be a number from 1, or auto.")
    return int(asked)


def resources_of(
    launcher: str,
    devices: str,
    jobs: int,
    processes: int,
    time_limit: float | None,
    detach: bool = False,
) -> Resources:
    """What the runs may use, from the options and the configuration."""
    from vlbench.config import load_config
    from vlbench.running.launchers import Resources

    if time_limit is not None and not math.isfinite(time_limit):
        raise UsageError(f"--time-limit {time_limit}: should be a number of minutes.")
    return Resources(
        launcher=launcher,
        devices=devices,
        jobs=jobs,
        processes=processes,
        time_limit_minutes=time_limit,
        slurm=load_config().slurm,
        detach=detach,
    )


def do(
    specs: Sequence[RunSpec],
    results: Path,
    resources: Resources,
    json: bool,
    faults: Sequence[DataError] = (),
) -> None:
    """Do the runs, print their metrics, and raise what became of those that failed.

    `faults` are of runs that are left out; those of results that cannot be read come to them.
    """
    from vlbench.running.folder import RunFolder
    from vlbench.running.launchers import launch
    from vlbench.running.watch import new_view

    to_do = sum(not RunFolder.of(results, spec).is_done for spec in specs)
    outcomes = launch(specs, results, resources, new_view(to_do))
    items: list[dict[str, Any]] = []
    unreadable = list(faults)
    for outcome in outcomes:
        if outcome.status == "done":
            try:
                items += _rows(outcome)
            except DataError as error:
                unreadable.append(DataError(f"{outcome.folder.result}: {error}. {DAMAGED}"))
    _show(items, json, single=len(specs) == 1)
    failed = [outcome for outcome in outcomes if outcome.exit_code]
    if not failed:
        done = sum(outcome.status == "done" for outcome in outcomes)
        told = f"{done} of {len(specs)} runs done."
        if done < len(specs):
            note(f"{told} The others go on: vlbench status{results_option(results)}")
        else:
            note(f"{told} The table: vlbench report{results_option(results)}")
        end_left_out(unreadable)
        return
    for fault in unreadable:
        note(f"Left out: {fault}")
    raise _failure(failed, len(specs))


DAMAGED = "Remove the file, and the same command does the run again."


def _failure(failed: Sequence[Outcome], count: int) -> VlbenchError:
    """One error for all that failed, with each one's reason and log."""
    begun = [outcome for outcome in failed if outcome.status != "planned"]
    waiting = len(failed) - len(begun)
    more = f", {waiting} were not started" if waiting else ""
    lines = [f"{each.spec.name}: {each.error}\n  {each.folder.log}" for each in begun]
    error: VlbenchError = RunFailed(
        f"{len(begun)} of {count} runs failed{more}:\n" + "\n".join(lines)
    )
    error.exit_code = failed[-1].exit_code
    return error


def _rows(outcome: Outcome) -> list[dict[str, Any]]:
    """The test rows of a finished run."""
    from vlbench.verifying.stored import read_rows

    rows, _ = read_rows(outcome.folder.result)
    return [row for row in rows if row["split"] == "test"]


def _show(items: list[dict[str, Any]], json: bool, single: bool) -> None:
    """The metrics; of a single run those of each question family too, beside the majority."""
    if json:
        print_json("run", items)
        return
    shown = [row for row in items if single or (row["main"] and not row["family"])]
    rows = [
        [
            f"{row['method']} seed {row['seed']}",
            row["metric"] if not row["family"] else f"  {row['family']}",
            f"{row['value']:.2f}",
            "" if row["majority"] is None else f"{row['majority']:.2f}",
            f"{row['n_examples']:,}",
        ]
        for row in shown
    ]
    if rows:
        print_table(rows, ("run", "metric", "value", "majority", "n"))
