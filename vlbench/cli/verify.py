"""`vlbench verify` and `vlbench results`: recompute stored runs, give and take them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.options import DoneOptions, FullRoot, Json, OutsideCode, Results, with_options
from vlbench.cli.output import (
    counting,
    end_left_out,
    example,
    note,
    print_json,
    print_table,
    say,
    subcommands,
)
from vlbench.errors import DataError, RunFailed

if TYPE_CHECKING:
    from vlbench.verify.inputs import Fault
    from vlbench.verify.verify import Verified, Verifier

COLUMNS = ("run", "key", "file", "row", "column", "stored", "recomputed", "why")
SHOWN = 5
"""Listed cells of one column of a file, JSON has them all; listed runs that are not done."""
LONGEST = 40
"""Characters of a value."""


@with_options
def verify(
    options: DoneOptions,
    folder: Annotated[
        Path | None, typer.Argument(help="The results folder; --results where left out.")
    ] = None,
    root: FullRoot = None,
    outside_code: OutsideCode = False,
    json: Json = False,
) -> None:
    """Recompute every number from the stored predictions.

    Cards and data are compared too. Each cell that does not hold is listed, and the exit code is 1;
    what cannot be checked is counted, with the reason.
    """
    from vlbench.verify.inputs import choose
    from vlbench.verify.verify import Verifier

    results = folder or options.results
    unreadable: list[DataError] = []
    runs = choose(results, (), options.filters(), unreadable)
    _note_left_out(results, len(runs))
    verifier = Verifier(root.expanduser().resolve() if root else None, note, outside_code)
    verified = _verify_runs(verifier, runs)
    if json:
        print_json("verify", [run.as_json() for run in verified])
    else:
        if lines := [line for run in verified for line in _fault_lines(run)]:
            print_table(lines, COLUMNS)
            say("")
        say("\n".join(_totals(verified)))
    if any(run.findings.faults for run in verified):
        for fault in unreadable:
            note(f"Left out: {fault}")
        raise typer.Exit(RunFailed.exit_code)
    end_left_out(unreadable)


def _note_left_out(results: Path, chosen: int) -> None:
    """Name runs that are not done: one that lost its result looks like one."""
    from vlbench.runs.folder import run_folders
    from vlbench.verify.inputs import is_done

    folders = run_folders(results, [])
    waiting = [folder.name for folder in folders if not is_done(folder)]
    if waiting:
        names = ", ".join(waiting[:SHOWN]) + (", ..." if len(waiting) > SHOWN else "")
        note(f"left out, as not done: {len(waiting):,} ({names})")
    if rest := len(folders) - len(waiting) - chosen:
        note(f"left out, as not asked for: {rest:,}")


def _verify_runs(verifier: Verifier, runs: Sequence[Path]) -> list[Verified]:
    """Verify them all, with progress."""
    verified = []
    with counting("runs verified") as count:
        for run in verifier.verify_all(runs):
            verified.append(run)
            count(len(verified), len(runs))
    return verified


def _totals(verified: Sequence[Verified]) -> list[str]:
    """How many runs and cells; a line for each reason why cells could not be checked."""
    checked = sum(run.findings.checked for run in verified)
    faults = sum(len(run.findings.faults) for run in verified)
    unchecked = sum((run.findings.unchecked for run in verified), Counter[str]())
    runs = f"{len(verified)} run{'s' if len(verified) != 1 else ''}"
    return [
        f"{runs}, {checked:,} cells checked, {faults:,} do not hold, "
        f"{unchecked.total():,} could not be checked{':' if unchecked else ''}",
        *(f"{cells:>10,}  {reason}" for reason, cells in unchecked.most_common()),
    ]


def _fault_lines(verified: Verified) -> Iterator[list[str]]:
    """A line for each fault; of many in one column the first, and how many more there are."""
    columns: dict[tuple[str, str], list[Fault]] = {}
    for fault in verified.findings.faults:
        columns.setdefault((fault.file, fault.column), []).append(fault)
    start = [verified.name, verified.key]
    for (file, column), faults in columns.items():
        for fault in faults[:SHOWN]:
            values = [_short(value) for value in (fault.stored, fault.recomputed)]
            yield [*start, file, fault.row, column, *values, fault.reason]
        if len(faults) > SHOWN:
            yield [*start, file, f"and {len(faults) - SHOWN:,} more", column, "", "", ""]


def _short(value: object) -> str:
    text = "empty" if value is None else " ".join(str(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


results = subcommands("Pack runs for others, take in runs of others.")


@results.command("export", epilog=example("results export --out runs.zip --method lora"))
@with_options
def export(
    out: Annotated[Path, typer.Option(help="The archive to write: FILE.zip or FILE.tar.gz.")],
    options: DoneOptions,
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Runs: begins of keys, or words of names; all where left out."),
    ] = None,
    with_weights: Annotated[
        bool, typer.Option("--with-weights", help="Pack the trained tensors too.")
    ] = False,
    with_logs: Annotated[
        bool, typer.Option("--with-logs", help="Pack logs too; they name hosts and folders.")
    ] = False,
    json: Json = False,
) -> None:
    """Pack runs that are done into one archive.

    Others can verify and import it. It holds spec, result, predictions, training curve and sums;
    the same runs give the same bytes.
    """
    from vlbench.verify.archive import machine_paths, pack
    from vlbench.verify.inputs import choose

    faults: list[DataError] = []
    chosen = choose(options.results, runs or (), options.filters(), faults)
    sizes = pack(chosen, out, with_weights, with_logs)
    if paths := sorted({path for run in chosen for path in machine_paths(run)}):
        note(f"{out} names places of this machine, as the specs do: {', '.join(paths)}")
    if json:
        print_json("export", [{"key": key, "bytes": size} for key, size in sizes.items()])
    else:
        rows = [[key, f"{size:,}"] for key, size in sizes.items()]
        print_table(rows, ("key", "bytes"), ("bytes",))
    note(f"Written: {out}, {len(sizes)} runs, {out.stat().st_size:,} bytes")
    end_left_out(faults)


@results.command("import", epilog=example("results import runs.zip --results results"))
def import_(
    archive: Annotated[Path, typer.Argument(help="An archive that `results export` wrote.")],
    results: Results = Path("results"),
    root: FullRoot = None,
    outside_code: OutsideCode = False,
    json: Json = False,
) -> None:
    """Verify the runs of an archive and take them in.

    All or none. A run that is there already stays as it is; one that is there with other files is
    refused.
    """
    from vlbench.verify.archive import merge
    from vlbench.verify.verify import Verifier

    verifier = Verifier(root.expanduser().resolve() if root else None, note, outside_code)
    merged = merge(archive, results, lambda runs: _verify_runs(verifier, runs))
    verified = [run.verified for run in merged if run.verified]
    for run in verified:
        for fault in run.findings.faults:
            note(f"{run.name}: {fault.text}")
    if verified:
        note("\n".join(_totals(verified)))
    _print_outcomes("import", {run.key: run.outcome for run in merged}, json)


@results.command("seal", epilog=example("results seal --results results"))
def seal_runs(results: Results = Path("results"), json: Json = False) -> None:
    """Write checksums that runs lack.

    SHA256SUMS for runs that have none, and the lines that are lacking in others. Sums that are
    there stay. New ones tell what the files are now, not what they were when the run was done:
    verify first, and seal only what you trust.
    """
    from vlbench.runs.sums import seal
    from vlbench.verify.inputs import done_runs

    faults: list[DataError] = []
    _print_outcomes("seal", {run.name: seal(run) for run in done_runs(results, faults)}, json)
    end_left_out(faults)


def _print_outcomes(what: str, outcomes: dict[str, str], json: bool) -> None:
    if json:
        print_json(what, [{"key": key, "outcome": text} for key, text in outcomes.items()])
    else:
        print_table([[key, text] for key, text in outcomes.items()], ("key", "outcome"))
