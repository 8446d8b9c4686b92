"""`vlbench verify` and `vlbench results`: recompute stored runs, give and take them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vlbench import cli
from vlbench.cli import options as opt
from vlbench.errors import DataError, RunFailed

if TYPE_CHECKING:
    from vlbench.verify.inputs import Fault
    from vlbench.verify.verify import Verified, Verifier

COLUMNS = ("run", "key", "file", "row", "column", "stored", "recomputed", "why")
MOST_LISTED = 5
"""Cells of one column of a file that are listed, JSON has them all; so for runs not done."""
LONGEST = 40
"""Characters of a value."""


@opt.with_options
def verify(
    options: opt.DoneOptions,
    folder: Path | None = opt.argument(None, "The results folder; --results where left out."),
    root: Path | None = opt.FULL_ROOT,
    outside_code: bool = opt.OUTSIDE_CODE,
    json: bool = opt.JSON,
) -> None:
    """Recompute every number from the stored predictions.

    Cards and data are compared too. Each cell that does not hold is listed, and the exit code is 1;
    what cannot be checked is counted, with the reason.
    """
    from vlbench.verify.inputs import choose

    results = folder or options.results
    unreadable: list[DataError] = []
    runs = choose(results, (), options.filters(), unreadable)
    _note_left_out(results, len(runs))
    verified = _verify_runs(_verifier(root, outside_code), runs)
    if json:
        cli.print_json("verify", [run.as_json() for run in verified])
    else:
        if lines := [line for run in verified for line in _fault_lines(run)]:
            cli.print_table(lines, COLUMNS)
            cli.say("")
        cli.say(_totals(verified))
    has_faults = any(run.findings.faults for run in verified)
    cli.end_left_out(unreadable, is_failure=not has_faults)
    if has_faults:
        raise typer.Exit(RunFailed.exit_code)


def _verifier(root: Path | None, outside_code: bool) -> Verifier:
    from vlbench.verify.verify import Verifier

    return Verifier(root.expanduser().resolve() if root else None, cli.note, outside_code)


def _note_left_out(results: Path, chosen: int) -> None:
    """Name runs that are not done: one that lost its result looks like one."""
    from vlbench.runs.folder import run_folders
    from vlbench.verify.inputs import is_done

    folders = run_folders(results, [])
    waiting = [folder.name for folder in folders if not is_done(folder)]
    if waiting:
        more = ", ..." if len(waiting) > MOST_LISTED else ""
        names = ", ".join(waiting[:MOST_LISTED]) + more
        cli.note(f"left out, as not done: {len(waiting):,} ({names})")
    if rest := len(folders) - len(waiting) - chosen:
        cli.note(f"left out, as not asked for: {rest:,}")


def _verify_runs(verifier: Verifier, runs: Sequence[Path]) -> list[Verified]:
    """Verify them all, with progress."""
    verified = []
    with cli.counting("runs verified") as count:
        for run in verifier.verify_all(runs):
            verified.append(run)
            count(len(verified), len(runs))
    return verified


def _totals(verified: Sequence[Verified]) -> str:
    """How many runs and cells; a line for each reason why cells could not be checked."""
    checked = sum(run.findings.checked for run in verified)
    faults = sum(len(run.findings.faults) for run in verified)
    unchecked = sum((run.findings.unchecked for run in verified), Counter[str]())
    runs = f"{len(verified)} run{'s' if len(verified) != 1 else ''}"
    lines = [
        f"{runs}, {checked:,} cells checked, {faults:,} do not hold, "
        f"{unchecked.total():,} could not be checked{':' if unchecked else ''}"
    ]
    lines += [f"{cells:>10,}  {reason}" for reason, cells in unchecked.most_common()]
    return "\n".join(lines)


def _fault_lines(verified: Verified) -> Iterator[list[str]]:
    """A line for each fault; of many in one column the first, and how many more there are."""
    columns: dict[tuple[str, str], list[Fault]] = {}
    for fault in verified.findings.faults:
        columns.setdefault((fault.file, fault.column), []).append(fault)
    start = [verified.name, verified.key]
    for (file, column), faults in columns.items():
        for fault in faults[:MOST_LISTED]:
            values = map(_excerpt, (fault.stored, fault.recomputed))
            yield [*start, file, fault.row, column, *values, fault.reason]
        if more := faults[MOST_LISTED:]:
            yield [*start, file, f"and {len(more):,} more", column, "", "", ""]


def _excerpt(value: object) -> str:
    text = "empty" if value is None else " ".join(str(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


results = cli.subcommands("Pack runs for others, take in runs of others.")


@results.command("export", epilog=cli.example("results export --out runs.zip --method lora"))
@opt.with_options
def export(
    options: opt.DoneOptions,
    out: Path = opt.option(..., "The archive to write: FILE.zip or FILE.tar.gz."),
    runs: list[str] | None = opt.argument(None, "Begins of keys, or words of names; else all."),
    with_weights: bool = opt.flag("--with-weights", "Pack the trained tensors too."),
    with_logs: bool = opt.flag("--with-logs", "Pack logs too; they name hosts and folders."),
    json: bool = opt.JSON,
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
        cli.note(f"{out} names places of this machine, as the specs do: {', '.join(paths)}")
    if json:
        cli.print_json("export", [{"key": key, "bytes": size} for key, size in sizes.items()])
    else:
        rows = [[key, f"{size:,}"] for key, size in sizes.items()]
        cli.print_table(rows, ("key", "bytes"), ("bytes",))
    cli.note(f"Written: {out}, {len(sizes)} runs, {out.stat().st_size:,} bytes")
    cli.end_left_out(faults)


@results.command("import", epilog=cli.example("results import runs.zip --results results"))
def import_(
    archive: Path = opt.argument(..., "An archive that `results export` wrote."),
    results: Path = opt.RESULTS,
    root: Path | None = opt.FULL_ROOT,
    outside_code: bool = opt.OUTSIDE_CODE,
    json: bool = opt.JSON,
) -> None:
    """Verify the runs of an archive and take them in.

    All or none. A run that is there already stays as it is; one that is there with other files is
    refused.
    """
    from vlbench.verify.archive import merge

    verifier = _verifier(root, outside_code)
    merged = merge(archive, results, lambda runs: _verify_runs(verifier, runs))
    verified = [run.verified for run in merged if run.verified]
    for run in verified:
        for fault in run.findings.faults:
            cli.note(f"{run.name}: {fault.text}")
    if verified:
        cli.note(_totals(verified))
    _print_outcomes("import", {run.key: run.outcome for run in merged}, json)


@results.command("seal", epilog=cli.example("results seal --results results"))
def seal_runs(results: Path = opt.RESULTS, json: bool = opt.JSON) -> None:
    """Write checksums that runs lack.

    SHA256SUMS for runs that have none, and the lines that are lacking in others. Sums that are
    there stay. New ones tell what the files are now, not what they were when the run was done:
    verify first, and seal only what you trust.
    """
    from vlbench.runs.sums import seal
    from vlbench.verify.inputs import done_runs

    faults: list[DataError] = []
    _print_outcomes("seal", {run.name: seal(run) for run in done_runs(results, faults)}, json)
    cli.end_left_out(faults)


def _print_outcomes(what: str, outcomes: dict[str, str], json: bool) -> None:
    items = [{"key": key, "outcome": text} for key, text in outcomes.items()]
    cli.answer(what, items, ("key", "outcome"), json)
