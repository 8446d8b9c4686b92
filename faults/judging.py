"""What must hold: whole files at any quiet moment, and at the end the undisturbed results."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from safetensors.numpy import load_file

from tests.runs.builders import MEASURED
from vlbench.runs.folder import RunFolder
from vlbench.runs.sums import hash_of, read_sums, result_files

COMPARED = ("adapter.safetensors", "metrics.jsonl", "predictions/*.parquet")
"""Files that must be equal byte for byte."""


class Loss(Exception):
    """Something that must not happen, whatever is done to vlbench."""


class Tally:
    """Faults dealt, the attempts at runs that ended with them, and losses found."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.losses: list[str] = []
        self.not_dealt = ""
        self.gone_seconds = 0.0

    def count(self, fault: str, attempts: int = 0) -> None:
        """A fault was dealt; so many attempts at runs ended with it."""
        self.times[fault] += 1
        self.attempts[fault] += attempts

    def table(self) -> str:
        """What was done, a line each; the last line says how many faults and losses."""
        lines = [f"{'fault':<58}{'times':>6}{'attempts lost':>15}"]
        for fault in sorted(self.times):
            lines.append(f"{fault:<58}{self.times[fault]:>6}{self.attempts[fault]:>15}")
        lines += [f"not everything was dealt: {self.not_dealt}"] * bool(self.not_dealt)
        lines += [f"LOSS: {loss}" for loss in self.losses]
        lines.append(f"longest that a worker outlived its launcher: {self.gone_seconds:.1f} s")
        lines.append(f"faults {self.times.total()}  losses {len(self.losses)}")
        return "\n".join(lines)


def _read_checkpoint(file: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        damaged = archive.testzip()
    if damaged:
        raise ValueError(f"{damaged} is damaged")


READERS: dict[str, Callable[[Path], object]] = {
    ".json": lambda file: json.loads(file.read_text(encoding="utf-8")),
    ".parquet": pq.read_table,
    ".safetensors": load_file,
    ".pt": _read_checkpoint,
}


def partial_files(results: Path) -> list[str]:
    """Files under their final names that cannot be read; nobody may be writing."""
    faults = []
    for file in sorted(results.glob("runs/*/**/*")):
        if (read := READERS.get(file.suffix)) and file.is_file():
            try:
                read(file)
            except Exception as error:  # each format has its own
                faults.append(f"{file}: cannot be read: {error}")
    return faults


def differences(truth: Path, results: Path) -> list[str]:
    """Where results that were disturbed are not what undisturbed ones are."""
    before, after = ({run.name: run for run in one.glob("runs/*")} for one in (truth, results))
    faults = [f"run {key}: only on one side" for key in sorted(before.keys() ^ after.keys())]
    for key in sorted(before.keys() & after.keys()):
        texts = [*_unequal(before[key], after[key]), *_untidy(after[key])]
        faults += [f"run {key}: {text}" for text in texts or _unsealed(after[key])]
    return faults


def _unequal(truth: Path, run: Path) -> list[str]:
    if not (run / "result.parquet").is_file():
        return ["result.parquet: is missing"]
    files = {
        file.relative_to(folder)
        for folder in (truth, run)
        for pattern in COMPARED
        for file in folder.glob(pattern)
    }
    contents = ((name, _content(truth / name), _content(run / name)) for name in sorted(files))
    faults = [f"{name}: differs from the undisturbed one" for name, a, b in contents if a != b]
    is_equal = _metrics(truth) == _metrics(run)
    return faults + ["result.parquet: differs from the undisturbed one"] * (not is_equal)


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


def _metrics(run: Path) -> list[dict[str, Any]]:
    rows = pq.read_table(run / "result.parquet").to_pylist()
    return [{name: row[name] for name in row if name not in MEASURED} for row in rows]


def _untidy(run: Path) -> list[str]:
    """What a run that is done should not leave, and what its record should say."""
    folder = RunFolder(run)
    faults = [f"{file.name}: left behind" for file in sorted(run.rglob("*.tmp"))]
    faults += [f"{name}: left behind" for name in ("checkpoint", "cancel") if (run / name).exists()]
    events = [(line["attempt"], line["event"]) for line in folder.record()]
    done = sum(event == "done" for _, event in events)
    if done != 1:
        faults.append(f"attempts.jsonl: {done} events `done` instead of one")
    ended = [attempt for attempt, event in events if event != "began"]
    if len(ended) > len(set(ended)):
        faults.append("attempts.jsonl: an attempt ended twice")
    if (status := folder.status().get("status")) != "done":
        faults.append(f"status.json: {status} instead of done")
    return faults


def _unsealed(run: Path) -> list[str]:
    """Files that are not what the run's own sums say."""
    sums = read_sums(run) or {}
    names = [name for name in result_files(run) if sums.get(name) != hash_of(run / name)]
    return [f"{name}: not as SHA256SUMS says" for name in names]
