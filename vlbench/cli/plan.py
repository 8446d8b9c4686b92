"""`vlbench plan`: every run of a plan with its state, and what the rest will take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vlbench.cli import selectors
from vlbench.cli.config import refuse_outside_code
from vlbench.cli.output import end_left_out, note, print_json, print_table, say
from vlbench.cli.run import Devices, Jobs, Launcher, Processes, resources_of
from vlbench.cli.selectors import select
from vlbench.text import format_duration

if TYPE_CHECKING:
    from vlbench.errors import DataError
    from vlbench.running.launchers import Resources
    from vlbench.running.spec import RunSpec
    from vlbench.running.state import Cell, Estimate


def plan(
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
    results: selectors.Results = Path("results"),
    outside_code: selectors.OutsideCode = False,
    json: selectors.Json = False,
) -> None:
    """Show every run that `run` would do with its state, and an estimate; start nothing.

    A run is stale when only an older one of its cell is there: the reason says what changed since.
    """
    from vlbench.running.launchers import find_launcher
    from vlbench.running.plan import plan as make_plan

    refuse_outside_code(context)
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
    end_left_out(show_plan(make_plan(asked, note), results, resources, starter.device, json))


def show_plan(
    specs: Sequence[RunSpec], results: Path, resources: Resources, device: str, json: bool
) -> list[DataError]:
    """Print the state of every run, and what the rest will take; returns what cannot be read."""
    from vlbench.running.state import Estimates, cells

    found = cells(specs, results)
    faults = [fault for cell in found for fault in cell.folder.all_faults()]
    place = device_label(device, resources)
    estimates = Estimates(results, place)
    expected = {
        cell.spec.key: None if cell.state == "done" else estimates.of(cell.spec) for cell in found
    }
    if json:
        print_json("plan", [_item(cell, expected[cell.spec.key]) for cell in found])
        return faults
    rows = [_row(cell, expected[cell.spec.key]) for cell in found]
    print_table(rows, ("run", "state", "key", "time", "memory", "reason"))
    say("\n" + "\n".join(_summary(found, expected, place, resources)))
    return faults


def device_label(device: str, resources: Resources) -> str:
    """The device as earlier results name it; of a cluster's any of its kind will do."""
    import torch

    from vlbench.running.result import device_name

    is_elsewhere = resources.launcher != "local"
    name = f"{device}: " if is_elsewhere else device_name(torch.device(device))
    return f"{resources.processes} x {name}" if resources.processes > 1 else name


def _item(cell: Cell, estimate: Estimate | None) -> dict[str, Any]:
    expected = None
    if estimate is not None:
        expected = {
            "seconds": estimate.seconds,
            "peak_memory_bytes": estimate.peak_memory_bytes,
            "runs": estimate.runs,
            "is_rough": estimate.is_rough,
        }
    return {
        **cell.spec.facts,
        "state": cell.state,
        "reason": cell.reason,
        "older_key": cell.older,
        "estimate": expected,
    }


def _row(cell: Cell, estimate: Estimate | None) -> list[str]:
    spec = cell.spec
    run = ", ".join([spec.method.name, *spec.overrides, f"seed {spec.seed}"])
    time = memory = ""
    if estimate is not None:
        about = "~" if estimate.is_rough else ""
        time = about + format_duration(estimate.seconds)
        memory = f"{about}{estimate.peak_memory_bytes / 1e9:.2f} GB"
    return [run, cell.state, spec.key, time, memory, cell.reason]


def _summary(
    cells: Sequence[Cell],
    expected: dict[str, Estimate | None],
    place: str,
    resources: Resources,
) -> list[str]:
    """How many runs are in which state, and what those that are not done will take together."""
    from vlbench.running.launchers.local import find_slots
    from vlbench.running.state import counted, total_seconds

    is_local = resources.launcher == "local"
    slots = len(find_slots(resources)) if is_local else resources.slurm.array_parallelism
    known = [each for each in expected.values() if each is not None]
    to_do = sum(cell.state != "done" for cell in cells)
    lines = [f"{counted([cell.state for cell in cells])}."]
    if known:
        left = format_duration(total_seconds([each.seconds for each in known], slots))
        of = f"{to_do} runs" if len(known) == to_do else f"{len(known)} of {to_do} runs"
        lines.append(
            f"About {left} for {of}, {slots} at once, by what training and testing took in "
            f"earlier runs on {place.removesuffix(': ')}"
            + (" (~: of other methods)." if _rough(known) else ".")
        )
    elif to_do:
        lines.append(f"No estimate: no earlier runs on {place.removesuffix(': ')} with these data.")
    return lines


def _rough(estimates: Sequence[Estimate]) -> bool:
    return any(each.is_rough for each in estimates)
