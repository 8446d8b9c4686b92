"""`vlbench run`: train, score and keep the runs that are not done yet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vlbench.cli.devices import device_of
from vlbench.cli.output import note, print_json, print_table
from vlbench.errors import RunFailed, UsageError, VlbenchError


def run(
    method: Annotated[
        list[str], typer.Option("--method", help="Methods or card files, with commas between.")
    ],
    tasks: Annotated[str, typer.Option(help="A suite, a task, or tasks with commas between.")],
    backbone: Annotated[str, typer.Option(help="The backbone to adapt.")] = "mini-bart",
    backbone_path: Annotated[
        Path | None, typer.Option(help="Folder with the backbone's weights.")
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Weights to start from: an imported checkpoint or a run's adapter.safetensors."
        ),
    ] = None,
    edition: Annotated[
        str | None, typer.Option(help="mini (generated) or full (official files).")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Where the data lie.")] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="Read features of this frozen encoder, not of the backbone's own."),
    ] = None,
    features: Annotated[
        list[Path] | None,
        typer.Option(help="A feature store, repeatable; else those below the root are found."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, with commas between.")] = "0",
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many examples a task and split: a smoke run."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", envvar="VLBENCH_SET", help="key=value over the card, repeatable."),
    ] = None,
    devices: Annotated[str, typer.Option(help="auto, cpu, or a GPU's number.")] = "auto",
    results: Annotated[Path, typer.Option(help="Where results are kept.")] = Path("results"),
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train, score and keep what is not done yet; the same command again goes on."""
    from vlbench.running.launch import run_all
    from vlbench.running.plan import Selection, plan

    asked = Selection(
        methods=tuple(method),
        tasks=tasks,
        backbone=backbone,
        backbone_path=backbone_path,
        init=init,
        edition=edition,
        root=root,
        encoder=encoder,
        features=tuple(features or ()),
        seeds=_seeds(seeds),
        limit=limit,
        settings=tuple(settings or ()),
        device=device_of(devices, "--devices"),
    )
    specs = plan(asked, note)
    outcomes = run_all(specs, results, note)
    items = [item for outcome in outcomes if not outcome.exit_code for item in _rows(outcome)]
    _show(items, json, single=len(specs) == 1)
    failed = [outcome for outcome in outcomes if outcome.exit_code]
    if not failed:
        done = f"{len(outcomes)} of {len(specs)} runs done."
        note(f"{done} The table: vlbench report --results {results}")
        return
    lines = [f"{each.spec.name}: {each.error}\n  {each.folder.log}" for each in failed]
    error: VlbenchError = RunFailed(
        f"{len(failed)} of {len(specs)} runs failed{_not_started(len(specs) - len(outcomes))}:\n"
        + "\n".join(lines)
    )
    error.exit_code = failed[-1].exit_code
    raise error


def _not_started(count: int) -> str:
    return f", {count} were not started" if count else ""


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UsageError(f"--seeds {text}: should be whole numbers, for example 0,1,2.") from None
    if any(seed < 0 for seed in seeds):
        raise UsageError(f"--seeds {text}: a seed is 0 or more.")
    return seeds


def _rows(outcome: Any) -> list[dict[str, Any]]:
    """The test rows of a finished run."""
    import pyarrow.parquet as pq

    table = pq.read_table(outcome.folder.result)
    return [row for row in table.to_pylist() if row["split"] == "test"]


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
