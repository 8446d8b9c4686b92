"""`python -m tools.parity FOLDER`: every golden file of a folder, a line each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tools.command import run_command
from tools.parity.checks import check_folder, list_goldens
from tools.parity.outcome import TOLERANCES, Outcome
from vlbench.cli import note, print_json
from vlbench.errors import RunFailed
from vlbench.process import guard_output

WIDTH = 9
"""Of a column of errors, in characters."""


def parity(
    folder: Annotated[Path, typer.Argument(help="Where the golden files lie.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare our models with recorded ones of the authors, file by file.

    The numbers are the largest errors of a file: absolute, those of gradients relative; of
    generated answers the number that is not identical. Ends with 1 where a file fails.
    """
    import torch

    torch.set_num_threads(1)  # the models are tiny
    names, others = list_goldens(folder)
    width = max(map(len, names))
    if not json:
        typer.echo(_row("file", list(TOLERANCES), "verdict", width))
    outcomes = []
    for outcome in check_folder(folder, names):
        outcomes.append(outcome)
        if not json:
            typer.echo(_row(outcome.name, _errors(outcome), _verdict(outcome), width))
    for other in others:
        note(f"{other}: not of this command")
    verdicts = [outcome.verdict for outcome in outcomes]
    if json:
        print_json("parity", map(_item, outcomes))
    else:
        kinds = {verdict: verdicts.count(verdict) for verdict in ("ok", "FAILED", "not run")}
        summary = ", ".join(f"{number} {kind}" for kind, number in kinds.items() if number)
        typer.echo(f"{len(outcomes)} files: {summary}")
    if "FAILED" in verdicts:
        raise typer.Exit(RunFailed.exit_code)


def _row(name: str, cells: list[str], verdict: str, width: int) -> str:
    return f"{name.ljust(width)} {' '.join(cell.rjust(WIDTH) for cell in cells)}  {verdict}"


def _errors(outcome: Outcome) -> list[str]:
    cells = []
    for kind, tolerance in TOLERANCES.items():
        error = outcome.errors.get(kind)
        if error is None:
            cells.append("-")
        else:
            cells.append(f"{error:.1e}" if tolerance else f"{error:.0f}")
    return cells


def _verdict(outcome: Outcome) -> str:
    if outcome.rounded and not outcome.faults:
        return f"{outcome.verdict}, {', '.join(sorted(outcome.rounded))} within float32 rounding"
    if not outcome.faults:
        return outcome.not_run or outcome.verdict
    first, *others = outcome.faults
    more = f" (and {len(others)} more: --json tells all)" if others else ""
    return f"{outcome.verdict}: {first}{more}"


def _item(outcome: Outcome) -> dict[str, Any]:
    return {
        "file": outcome.name,
        "technique": outcome.technique,
        "verdict": outcome.verdict,
        "errors": outcome.told_errors(),
        "within_rounding": sorted(outcome.rounded),
        "faults": outcome.faults,
        "not_run": outcome.not_run,
    }


def main() -> None:
    """Run the command."""
    run_command(parity, "tools.parity")


if __name__ == "__main__":
    guard_output()
    main()
