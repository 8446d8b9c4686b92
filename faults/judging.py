"""What must hold: whole files at any quiet moment, and at the end the undisturbed results."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from safetensors.numpy import load_file

from faults.processes import attempts_of
from tests.runs.builders import MEASURED
from vlbench.runs.sums import hash_of, read_sums, result_files

COMPARED = ("adapter.safetensors", "metrics.jsonl", "predictions/*.parquet")
"""Files that must be equal byte for byte."""


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
        read = READERS.get(file.suffix)
        if read is None or not file.is_file():
            continue
        try:
            read(file)
        except Exception as error:  # each format has its own
            faults.append(f"{file}: cannot be read: {error}")
    return faults


def differences(truth: Path, found: Path) -> list[str]:
    """Where results that were disturbed are not what undisturbed ones are."""
    expected = {folder.name for folder in truth.glob("runs/*")}
    there = {folder.name for folder in found.glob("runs/*")}
    faults = [f"run {key}: only on one side" for key in sorted(expected ^ there)]
    for key in sorted(expected & there):
        one, other = truth / "runs" / key, found / "runs" / key
        found_here = [*_unequal(one, other), *_untidy(other)] or _unsealed(other)
        faults += [f"run {key}: {text}" for text in found_here]
    return faults


def _unequal(truth: Path, found: Path) -> list[str]:
    names = {
        file.relative_to(folder).as_posix()
        for folder in (truth, found)
        for pattern in COMPARED
        for file in folder.glob(pattern)
    }
    faults = []
    for name in sorted(names):
        if not (truth / name).is_file() or not (found / name).is_file():
            faults.append(f"{name}: only on one side")
        elif (truth / name).read_bytes() != (found / name).read_bytes():
            faults.append(f"{name}: differs from the undisturbed one")
    if not (found / "result.parquet").is_file():
        return [*faults, "has no result"]
    if _metrics(truth) != _metrics(found):
        faults.append("result.parquet: differs from the undisturbed one")
    return faults


def _metrics(run: Path) -> list[dict[str, Any]]:
    rows = pq.read_table(run / "result.parquet").to_pylist()
    return [{name: row[name] for name in row if name not in MEASURED} for row in rows]


def _untidy(run: Path) -> list[str]:
    """What a run that is done should not leave, and what its record should say."""
    faults = [f"{file.name}: left behind" for file in sorted(run.rglob("*.tmp"))]
    faults += [f"{name}: left behind" for name in ("checkpoint", "cancel") if (run / name).exists()]
    events = [(line["attempt"], line["event"]) for line in attempts_of(run)]
    done = sum(event == "done" for _, event in events)
    if done != 1:
        faults.append(f"attempts.jsonl: {done} events `done` instead of one")
    ended = [attempt for attempt, event in events if event != "began"]
    if len(ended) > len(set(ended)):
        faults.append("attempts.jsonl: an attempt ended twice")
    status = json.loads((run / "status.json").read_text(encoding="utf-8")).get("status")
    if status != "done":
        faults.append(f"status.json: {status} instead of done")
    return faults


def _unsealed(run: Path) -> list[str]:
    """Files that are not what the run's own sums say."""
    sums = read_sums(run) or {}
    return [
        f"{name}: not as SHA256SUMS says"
        for name in result_files(run)
        if sums.get(name) != hash_of(run / name)
    ]
