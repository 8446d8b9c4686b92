"""What share of a run's wall time is neither training nor testing, by what its result says.

A smoke run (`--limit 64`), and with `--complete` a whole one of the mini edition, started as a user
starts them, in a results folder of their own. The data is made and indexed before.

    python benchmarks/harness.py [--method compacter] [--rounds 3] [--complete]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
from measure import options, record

TARGETS = {"smoke": 30, "complete": 120}
"""Seconds, on two idle cores."""


def main() -> None:
    """Print a line for each kind of run."""
    parser = options(__doc__)
    parser.add_argument("--method", default="compacter")
    parser.add_argument("--rounds", type=int, default=3, help="of the smoke run")
    parser.add_argument("--complete", action="store_true", help="a whole run too, once")
    given = parser.parse_args()
    words = [sys.executable, "-m", "vlbench", "run", "--method", given.method]
    words += ["--tasks", "image-text"]
    subprocess.run([*words, "--dry-run"], check=True, capture_output=True)
    print(f"{'run of ' + given.method:24}{'wall s':>9}{'target':>8}{'harness %':>11}")
    show("smoke", given.method, [timed([*words, "--limit", "64"]) for _ in range(given.rounds)])
    if given.complete:
        show("complete", given.method, [timed(words)])


def timed(words: Sequence[str]) -> tuple[float, float]:
    """The wall time of a run, and the part of it that is neither training nor testing."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        subprocess.run([*words, "--results", folder], check=True, capture_output=True)
        wall = time.monotonic() - began
        (file,) = Path(folder).glob("runs/*/result.parquet")
        rows = pq.read_table(file, columns=["task", "train_seconds", "evaluate_seconds"])
        tests = {row["task"]: row["evaluate_seconds"] or 0.0 for row in rows.to_pylist()}
        train = rows.column("train_seconds")[0].as_py()
    return wall, wall - train - sum(tests.values())


def show(kind: str, method: str, rounds: Sequence[tuple[float, float]]) -> None:
    """The medians of the rounds."""
    wall = statistics.median(wall for wall, _ in rounds)
    share = statistics.median(100 * harness / wall for wall, harness in rounds)
    print(f"{kind:24}{wall:9.1f}{TARGETS[kind]:8}{share:11.1f}", flush=True)
    record("harness", kind=kind, method=method, wall=wall, harness_percent=share)


if __name__ == "__main__":
    main()
