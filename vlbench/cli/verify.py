"""`vlbench verify`: recompute every stored number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.counting import counting
from vlbench.cli.filters import Backbones, Editions, Methods, Seeds, Tasks, filters
from vlbench.cli.output import end_left_out, note, print_json, print_table, say
from vlbench.cli.selectors import OutsideCode
from vlbench.cli.show import Json
from vlbench.errors import DataError, RunFailed

if TYPE_CHECKING:
    from vlbench.verifying.findings import Fault
    from vlbench.verifying.verify import Verified, Verifier

Root = Annotated[Path | None, typer.Option(help="Where the full edition's files lie.")]
COLUMNS = ("run", "key", "file", "row", "column", "stored", "recomputed", "why")
SHOWN = 5
"""Cells of one column of a file that are listed, JSON has them all; runs that are not done."""
LONGEST = 40
"""Characters of a value."""


def verify(
    folder: Annotated[
        Path | None, typer.Argument(help="The results folder; --results where left out.")
    ] = None,
    results: Annotated[Path, typer.Option(help="The results folder.")] = Path("results"),
    root: Root = None,
    method: Methods = None,
    tasks: Tasks = None,
    backbone: Backbones = None,
    edition: Editions = None,
    seeds: Seeds = None,
    outside_code: OutsideCode = False,
    json: Json = False,
) -> None:
    """Recompute every stored number from predictions, cards and data; 1 where one does not hold.

    Each cell that does not hold is listed; what cannot be checked is counted, with the reason.
    """
    from vlbench.verifying.choosing import choose
    from vlbench.verifying.verify import Verifier

    place = folder or results
    faults: list[DataError] = []
    runs = choose(place, (), filters(method, tasks, backbone, edition, seeds), faults)
    _tell_left_out(place, len(runs))
    where = root.expanduser().resolve() if root else None
    found = verify_runs(Verifier(where, note, outside_code), runs)
    if json:
        print_json("verify", [each.as_json() for each in found])
    else:
        show(found)
    if any(each.findings.faults for each in found):
        for fault in faults:
            note(f"Left out: {fault}")
        raise typer.Exit(RunFailed.exit_code)
    end_left_out(faults)


def _tell_left_out(place: Path, chosen: int) -> None:
    """A run that lost its result looks like one that is not done, so these are named."""
    from vlbench.running.folder import run_folders
    from vlbench.verifying.choosing import is_done

    folders = run_folders(place, [])
    waiting = [folder.name for folder in folders if not is_done(folder)]
    if waiting:
        shown = ", ".join(waiting[:SHOWN]) + (", ..." if len(waiting) > SHOWN else "")
        note(f"left out, as not done: {len(waiting):,} ({shown})")
    if rest := len(folders) - len(waiting) - chosen:
        note(f"left out, as not asked for: {rest:,}")


def verify_runs(verifier: Verifier, runs: Sequence[Path]) -> list[Verified]:
    """Verify them all, with progress."""
    found = []
    with counting("runs verified") as tell:
        for each in verifier.verify_all(runs):
            found.append(each)
            tell(len(found), len(runs))
    return found


def show(found: Sequence[Verified]) -> None:
    """The cells that do not hold, then the counts."""
    lines = [line for each in found for line in _lines(each)]
    if lines:
        print_table(lines, COLUMNS)
        say("")
    say("\n".join(totals(found)))


def totals(found: Sequence[Verified]) -> list[str]:
    """How many runs and cells; a line for each reason why cells could not be checked."""
    checked = sum(each.findings.checked for each in found)
    faults = sum(len(each.findings.faults) for each in found)
    unchecked = sum((each.findings.unchecked for each in found), Counter[str]())
    runs = f"{len(found)} run{'s' if len(found) != 1 else ''}"
    return [
        f"{runs}, {checked:,} cells checked, {faults:,} do not hold, "
        f"{unchecked.total():,} could not be checked{':' if unchecked else ''}",
        *(f"{cells:>10,}  {reason}" for reason, cells in unchecked.most_common()),
    ]


def _lines(verified: Verified) -> Iterator[list[str]]:
    """A line for each fault; of many in one column the first, and how many more there are."""
    places: dict[tuple[str, str], list[Fault]] = {}
    for fault in verified.findings.faults:
        places.setdefault((fault.file, fault.column), []).append(fault)
    start = [verified.name, verified.key]
    for (file, column), faults in places.items():
        for each in faults[:SHOWN]:
            values = [_short(value) for value in (each.stored, each.recomputed)]
            yield [*start, file, each.row, column, *values, each.reason]
        if len(faults) > SHOWN:
            yield [*start, file, f"and {len(faults) - SHOWN:,} more", column, "", "", ""]


def _short(value: object) -> str:
    text = "empty" if value is None else " ".join(str(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
