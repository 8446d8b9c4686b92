"""`vlbench plan`: every run of a plan with its state, and what the rest will take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlbench.cli import selectors
from vlbench.cli.output import note, print_json, print_table
from vlbench.cli.run import Devices, Jobs, Launcher, Processes, resources_of
from vlbench.cli.selectors import select
from vlbench.times import spoken

if TYPE_CHECKING:
    from vlbench.running.estimates import Estimate
    from vlbench.running.launchers import Resources
    from vlbench.running.states import Cell


def plan(
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
    results: selectors.Results = Path("results"),
    json: selectors.Json = False,
) -> None:
    """Show every run that `run` would do with its state, and an estimate; start nothing.

    A run is stale when only an older one of its cell is there: the reason says what changed since.
    """
    from vlbench.running.estimates import Estimates
    from vlbench.running.launchers import find_launcher
    from vlbench.running.plan import plan as make_plan
    from vlbench.running.states import cells

    resources = resources_of(launcher, devices, jobs, processes, None)
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
    )
    found = cells(make_plan(asked, note), results)
    place = device_label(starter.device, resources)
    estimates = Estimates(results, place)
    expected = {
        cell.spec.key: None if cell.state == "done" else estimates.of(cell.spec) for cell in found
    }
    if json:
        print_json("plan", [_item(cell, expected[cell.spec.key]) for cell in found])
        return
    rows = [_row(cell, expected[cell.spec.key]) for cell in found]
    print_table(rows, ("run", "state", "key", "time", "memory", "reason"))
    typer.echo("\n" + "\n".join(_summary(found, expected, place, resources)))
