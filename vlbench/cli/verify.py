"""`vlbench verify` and `vlbench results`: recompute stored runs, give and take them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vlbench import cli
from vlbench.cli import options as opt
from vlbench.errors import DataError, NothingToReport, RunFailed

if TYPE_CHECKING:
    from vlbench.verify.verify import Verified, Verifier

MOST_LISTED = 20  # cells of one run that are listed; JSON has them all
OF_FOLDER = ("packed", "search")
"""Parts of a report that are of no single run."""


@opt.with_options
def verify(
    options: opt.DoneOptions,
    folder: Path | None = opt.argument(None, "The results folder; --results where left out."),
    root: Path | None = opt.FULL_ROOT,
    outside_code: bool = opt.OUTSIDE_CODE,
    json: bool = opt.JSON,
) -> None:
    """Recompute every number from the stored predictions.

    The data are compared too. Each cell that does not hold is listed, and the exit code is 1;
    what cannot be checked is counted, with the reason.
    """
    from vlbench.runs.folder import stored_runs
    from vlbench.verify.inputs import choose, is_done
    from vlbench.verify.searches import verify_searches
    from vlbench.verify.verify import verify_packs

    results = folder or options.results
    unreadable: list[DataError] = []
    runs = choose(results, options.filters(), unreadable)
    if waiting := [run.name for run in stored_runs(results, []) if not is_done(run)]:
        cli.note(f"left out, as not done: {len(waiting):,} ({', '.join(waiting[:MOST_LISTED])})")
    verified = _verify_runs(_verifier(root, outside_code), runs)
    of_folder = (verify_packs(results), verify_searches(results))
    verified += [part for part in of_folder if part]
    has_faults = any(run.findings.faults for run in verified)
    if json:
        cli.print_json("verify", [run.as_json() for run in verified])
    else:
        for line in _fault_lines(verified):
            cli.say(line)
        cli.say(_totals(verified))
    cli.end_left_out(unreadable, is_failure=not has_faults)
    if has_faults:
        raise typer.Exit(RunFailed.exit_code)


def _verifier(root: Path | None, outside_code: bool) -> Verifier:
    from vlbench.verify.verify import Verifier

    return Verifier(root.expanduser().resolve() if root else None, cli.note, outside_code)


def _verify_runs(verifier: Verifier, runs: Sequence[Traversable]) -> list[Verified]:
    verified = []
    with cli.counting("runs verified") as count:
        for run in verifier.verify_all(runs):
            verified.append(run)
            count(len(verified), len(runs))
    return verified


def _totals(verified: Sequence[Verified]) -> str:
    checked = sum(run.findings.checked for run in verified)
    faults = sum(len(run.findings.faults) for run in verified)
    unchecked = sum((run.findings.unchecked for run in verified), Counter[str]())
    runs = sum(run.key not in OF_FOLDER for run in verified)
    lines = [
        f"{runs} run{'s' * (runs != 1)}, {checked:,} cells checked, {faults:,} "
        f"do not hold, {unchecked.total():,} could not be checked{':' if unchecked else ''}"
    ]
    lines += [f"{cells:>10,}  {reason}" for reason, cells in unchecked.most_common()]
    return "\n".join(lines)


def _fault_lines(verified: Sequence[Verified]) -> Iterator[str]:
    for run in verified:
        for fault in run.findings.faults[:MOST_LISTED]:
            yield f"{run.name} ({run.key}): {fault.text}"
        if more := len(run.findings.faults[MOST_LISTED:]):
            yield f"{run.name} ({run.key}): and {more:,} more cells: --json lists them"


results = cli.subcommands("Give runs to others, take theirs, keep many in few files.")


@results.command("export", epilog=cli.example("results export --out runs.tar.gz --method lora"))
@opt.with_options
def export(
    options: opt.DoneOptions,
    out: Path = opt.option(..., "The archive to write: FILE.tar.gz."),
    with_weights: bool = opt.flag("--with-weights", "The trained tensors too."),
    json: bool = opt.JSON,
) -> None:
    """Write runs that are done into one archive.

    Others can verify and import it. It holds spec, result, predictions, training curve and sums;
    the same runs give the same bytes.
    """
    from vlbench.verify.archive import pack
    from vlbench.verify.inputs import choose

    faults: list[DataError] = []
    chosen = choose(options.results, options.filters(), faults)
    sizes = pack(chosen, out, with_weights)
    items = [{"key": key, "bytes": size} for key, size in sizes.items()]
    cli.answer("export", items, ("key", "bytes"), json)
    cli.note(f"Written: {out}, {len(sizes)} runs, {out.stat().st_size:,} bytes")
    cli.end_left_out(faults)


@results.command("import", epilog=cli.example("results import runs.tar.gz --results results"))
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
    verified = [run for run in merged.values() if run]
    for line in _fault_lines(verified):
        cli.note(line)
    if verified:
        cli.note(_totals(verified))
    outcomes = {key: "added" if run else "already there" for key, run in merged.items()}
    items = [{"key": key, "outcome": text} for key, text in outcomes.items()]
    cli.answer("import", items, ("key", "outcome"), json)


@results.command(epilog=cli.example("results pack --results results"))
def pack(results: Path = opt.RESULTS, json: bool = opt.JSON) -> None:
    """Keep the runs of a folder in a few Parquet files.

    Every command reads them as before. Runs that are not done, that have weights, or whose files
    would not come back byte for byte keep their folders.
    """
    from vlbench.runs.packing import pack

    packing = pack(results)
    outcomes = {**dict.fromkeys(packing.packed, "packed"), **packing.left}
    if not outcomes:
        raise NothingToReport(f"{results}: no runs here (looked for runs/*/ and packed/).")
    items = [{"key": key, "outcome": text} for key, text in outcomes.items()]
    cli.answer("pack", items, ("key", "outcome"), json)
    left = f", {len(packing.left)} keep their folders" if packing.left else ""
    cli.note(f"{len(packing.packed)} runs are packed in {results / 'packed'}{left}")


@results.command(epilog=cli.example("results unpack --results results"))
def unpack(results: Path = opt.RESULTS, json: bool = opt.JSON) -> None:
    """Give packed runs their folders back.

    Each file has the bytes that it had, as the run's checksums say.
    """
    from vlbench.runs.packing import unpack

    keys = unpack(results)
    if not keys:
        raise NothingToReport(f"{results}: nothing is packed here (looked for packed/).")
    cli.answer("unpack", [{"key": key} for key in keys], ("key",), json)
    cli.note(f"{len(keys)} runs have their folders in {results / 'runs'} again")
