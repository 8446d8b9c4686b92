"""Where the wall time of a run goes: training steps, answers and scores, and all the rest.

A smoke run (`--limit 64`), and with `--complete` a whole one of the mini edition, started as a user
starts them, in a results folder of their own. The harness is what is neither step nor answer nor
score.

    python benchmarks/whole_run.py [--method compacter] [--complete]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
from measure import options, record

TARGETS = {"smoke": 30, "complete": 120}
"""Seconds, on two idle cores."""


def main() -> None:
    """Print the parts of each run."""
    parser = options(__doc__)
    parser.add_argument("--method", default="compacter")
    parser.add_argument("--complete", action="store_true", help="a whole run too")
    given = parser.parse_args()
    heads = ("wall s", "train s", "test s", "harness s", "share", "target")
    print(f"{'run':10}" + "".join(f"{head:>11}" for head in heads))
    show("smoke", given.method, ["--limit", "64"])
    if given.complete:
        show("complete", given.method, [])


def show(kind: str, method: str, more: list[str]) -> None:
    """Do a run and print where its time went."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "vlbench", "run", "--method", method]
        words += ["--tasks", "image-text", "--results", folder, *more]
        began = time.monotonic()
        subprocess.run(words, check=True, capture_output=True)
        wall = time.monotonic() - began
        (file,) = Path(folder).glob("runs/*/result.parquet")
        rows = pq.read_table(file).to_pylist()
    train = rows[0]["train_seconds"]
    tasks = {row["task"]: row["evaluate_seconds"] for row in rows if row["split"] == "test"}
    test = sum(tasks.values())
    harness = wall - train - test
    share = f"{100 * harness / wall:.0f} %"
    numbers = "".join(f"{seconds:11.1f}" for seconds in (wall, train, test, harness))
    print(f"{kind:10}{numbers}{share:>11}{TARGETS[kind]:>11}", flush=True)
    record("whole_run", kind=kind, method=method, wall=wall, train=train, test=test)


if __name__ == "__main__":
    main()
