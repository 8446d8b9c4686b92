"""`vlbench results`: runs for others, runs from others, and their sums."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlbench.cli.filters import Backbones, Editions, Methods, Seeds, Tasks, filters
from vlbench.cli.output import end_left_out, note, print_json, print_table
from vlbench.cli.selectors import OutsideCode
from vlbench.cli.show import Json
from vlbench.cli.verify import Root, totals, verify_runs
from vlbench.errors import DataError

commands = typer.Typer(
    help="Pack runs for others, take runs of others in.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)
Folder = Annotated[Path, typer.Option(help="The results folder.")]


@commands.command("export")
def export(
    out: Annotated[Path, typer.Option(help="The archive to write: FILE.zip or FILE.tar.gz.")],
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Runs: begins of keys, or words of names; all where left out."),
    ] = None,
    results: Folder = Path("results"),
    method: Methods = None,
    tasks: Tasks = None,
    backbone: Backbones = None,
    edition: Editions = None,
    seeds: Seeds = None,
    with_weights: Annotated[
        bool, typer.Option("--with-weights", help="Pack the trained tensors too.")
    ] = False,
    with_logs: Annotated[
        bool, typer.Option("--with-logs", help="Pack logs too; they name hosts and folders.")
    ] = False,
    json: Json = False,
) -> None:
    """Pack runs that are done into one archive that others can verify and import.

    It holds spec, result, predictions, training curve and sums; the same runs give the same bytes.
    """
    from vlbench.verifying.choosing import choose
    from vlbench.verifying.packing import machine_paths, pack

    faults: list[DataError] = []
    chosen = choose(results, runs or (), filters(method, tasks, backbone, edition, seeds), faults)
    sizes = pack(chosen, out, with_weights, with_logs)
    named = sorted({path for run in chosen for path in machine_paths(run)})
    if named:
        note(f"{out} names places of this machine, as the specs do: {', '.join(named)}")
    items = [{"key": key, "bytes": size} for key, size in sizes.items()]
    if json:
        print_json("export", items)
    else:
        print_table(
            [[key, f"{size:,}"] for key, size in sizes.items()], ("key", "bytes"), ("bytes",)
        )
    note(f"Written: {out}, {len(items)} runs, {out.stat().st_size:,} bytes")
    end_left_out(faults)


@commands.command("import")
def import_(
    archive: Annotated[Path, typer.Argument(help="An archive that `results export` wrote.")],
    results: Folder = Path("results"),
    root: Root = None,
    outside_code: OutsideCode = False,
    json: Json = False,
) -> None:
    """Verify the runs of an archive and take them into a results folder: all or none.

    A run that is there already stays as it is; one that is there with other files is refused.
    """
    from vlbench.verifying.merging import merge
    from vlbench.verifying.verify import Verifier

    verifier = Verifier(root.expanduser().resolve() if root else None, note, outside_code)
    merged = merge(archive, results, lambda runs: verify_runs(verifier, runs))
    verified = [each.verified for each in merged if each.verified]
    for each in verified:
        for fault in each.findings.faults:
            note(f"{each.name}: {fault.text}")
    if verified:
        note("\n".join(totals(verified)))
    items = [{"key": each.key, "outcome": each.outcome} for each in merged]
    if json:
        print_json("import", items)
    else:
        print_table([[each["key"], each["outcome"]] for each in items], ("key", "outcome"))


@commands.command("seal")
def seal_runs(
    results: Folder = Path("results"),
    json: Json = False,
) -> None:
    """Write SHA256SUMS for runs that have none, and the lines that are lacking in others.

    Sums that are there stay. New ones tell what the files are now, not what they were when the run
    was done: verify first, and seal only what you trust.
    """
    from vlbench.running.sums import seal
    from vlbench.verifying.choosing import done_runs

    faults: list[DataError] = []
    items = [{"key": run.name, "outcome": seal(run)} for run in done_runs(results, faults)]
    if json:
        print_json("seal", items)
    else:
        print_table([[each["key"], each["outcome"]] for each in items], ("key", "outcome"))
    end_left_out(faults)
