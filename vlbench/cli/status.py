"""`vlbench status`, `logs` and `doctor`: how runs and the machine are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlbench import cli
from vlbench.cli import options as opt
from vlbench.errors import MissingError, NothingToReport

ORDER = ("running", "queued", "failed", "out-of-memory", "timeout", "stopped", "preempted")
"""The order in which states are listed; others come last."""
ALWAYS = ("key", "method", "seed", "status")
CONTEXT = ("settings", "init", "suite", "backbone", "edition", "scope")
"""Columns that show where the runs differ in them."""
COLUMNS = (
    *("key", "method", *CONTEXT, "seed", "status"),
    *("phase", "step", "loss", "ex/s", "eta", "where", "error"),
)

Item = Mapping[str, Any]


def status(
    results: Path = opt.RESULTS,
    everything: bool = opt.flag("--all", "List done runs too."),
    json: bool = opt.JSON,
) -> None:
    """Show how far runs are, where they run, what ended them."""
    from vlbench.runs.folder import list_runs

    items, faults = list_runs(results)
    if json:
        cli.print_json("status", _sorted(items))
    else:
        columns, rows = _table(items, everything)
        if rows:
            cli.print_table(rows, columns)
        cli.say(_summary(items, everything))
    cli.end_left_out(faults)


def _sorted(items: Sequence[Item]) -> list[Item]:
    return sorted(items, key=lambda item: [*ORDER, item["status"]].index(item["status"]))


def _table(items: Sequence[Item], everything: bool) -> tuple[list[str], list[list[str]]]:
    texts = [_texts(item) for item in _sorted(items) if everything or item["status"] != "done"]
    values = {name: {text.get(name, "") for text in texts} for name in COLUMNS}
    shown = {name for name in COLUMNS if any(values[name]) and name not in CONTEXT}
    shown |= {*ALWAYS, *(name for name in CONTEXT if len(values[name]) > 1)}
    columns = [name for name in COLUMNS if name in shown]
    return columns, [[text.get(name, "") for name in columns] for text in texts]


def _texts(item: Item) -> dict[str, str]:
    from vlbench.runs.folder import short_error
    from vlbench.runs.watch import progress_texts

    progress = progress_texts(item) if item["status"] == "running" else {}
    names = {"rate": "ex/s", "left": "eta"}
    return {
        **{name: str(item[name]) for name in (*CONTEXT, *ALWAYS)},
        **{names.get(name, name): text for name, text in progress.items()},
        "settings": ", ".join(item["settings"]),
        "key": item["key"][:8],
        "where": item["where"] or (f"job {item['job']}" if item["status"] == "queued" else ""),
        "error": short_error(item),
    }


def _summary(items: Sequence[Item], everything: bool) -> str:
    from vlbench.runs.state import counted

    text = counted([item["status"] for item in items])
    is_hidden = not everything and any(item["status"] == "done" for item in items)
    return f"{text} (--all lists those done)." if is_hidden else f"{text}."


def logs(
    run: str = opt.argument(..., "The begin of its key, or words such as 'compacter seed 0'."),
    results: Path = opt.RESULTS,
) -> None:
    """Print the log of a run, of all its attempts."""
    from vlbench.runs.folder import find_run

    folder = find_run(results, run)
    log = folder.stored / folder.log.name
    if not log.is_file():
        raise NothingToReport(f"{folder.path}: no log yet, the run is {folder.state}.")
    cli.say(log.read_bytes().decode("utf-8", errors="replace").removesuffix("\n"))


def doctor(
    root: Path | None = opt.option(None, "Where runs look for data."),
    edition: str | None = opt.EDITION,
    backbone: str = opt.option("mini-bart", "Look for its weights and features."),
    backbone_path: Path | None = opt.BACKBONE_PATH,
    results: Path = opt.RESULTS,
    launcher: str = opt.option("local", "local, or slurm: then Slurm is looked for too."),
    json: bool = opt.JSON,
) -> None:
    """Look for everything that a run needs; name remedies.

    Exit code 3 when something is missing.
    """
    from vlbench.doctor import examine

    findings = examine(root, edition, results, launcher, backbone, backbone_path)
    if json:
        cli.print_json("doctor", [finding._asdict() for finding in findings])
    else:
        rows = [
            [what, "yes", found] if is_there else [what, "NO", f"{found}; remedy: {remedy}"]
            for what, is_there, found, remedy in findings
        ]
        cli.print_table(rows, ("what", "there", ""))
    missing = [finding.what for finding in findings if not finding.is_there]
    if missing:
        raise MissingError(f"Missing: {', '.join(missing)}. The remedy stands beside each.")
