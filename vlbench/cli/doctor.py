"""`vlbench doctor`: what is there, what is missing, and the command that mends it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.output import print_json, print_table
from vlbench.errors import MissingError

if TYPE_CHECKING:
    from vlbench.doctor import Finding


def doctor(
    root: Annotated[Path | None, typer.Option(help="Where runs look for data.")] = None,
    edition: Annotated[
        str | None, typer.Option(help="mini (generated) or full (official files).")
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="Look for this backbone's weights, and for features it reads.")
    ] = "mini-bart",
    backbone_path: Annotated[
        Path | None, typer.Option(help="Folder with the backbone's weights.")
    ] = None,
    results: Annotated[Path, typer.Option(help="Where results are kept.")] = Path("results"),
    launcher: Annotated[str, typer.Option(help="local, or slurm: then Slurm is needed.")] = "local",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look for everything the default run needs; exit 3 when something is missing."""
    from vlbench.doctor import examine

    findings = examine(root, edition, results, launcher, backbone, backbone_path)
    if json:
        print_json("doctor", [finding._asdict() for finding in findings])
    else:
        rows = [[each.what, _answer(each), each.remedy or each.found] for each in findings]
        print_table(rows, ("what", "there", ""))
    missing = [finding.what for finding in findings if finding.is_needed and not finding.is_there]
    if missing:
        raise MissingError(f"Missing: {', '.join(missing)}. The remedy stands beside each.")


def _answer(finding: Finding) -> str:
    if finding.is_there:
        return "yes"
    return "NO" if finding.is_needed else "no"
