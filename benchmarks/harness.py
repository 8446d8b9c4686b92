"""Where the wall time of a run goes, and what share of it is neither step nor answer nor score.

A smoke run (`--limit 64`), and with `--complete` a whole one of the mini edition, started as a user
starts them, in a results folder of their own; command and worker have a stopwatch on some of their
functions (stopwatch.py). The data is made and indexed before. What takes less than 0.5 % of the
time is `the rest`.

    python benchmarks/harness.py [--method compacter] [--rounds 3] [--complete]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from measure import options, quartiles, record
from stopwatch import SEPARATOR

WORK = {
    *("worker: steps", "worker: answers, validation", "worker: answers, test"),
    *("worker: scores, validation", "worker: scores, test"),
}
"""What a run is for; all else is the harness."""
TARGETS = {"smoke": 30, "complete": 120}
"""Seconds, on two idle cores."""
REST = "the rest"
LEAST = 0.005


def main() -> None:
    """Print a table for each kind of run."""
    parser = options(__doc__)
    parser.add_argument("--method", default="compacter")
    parser.add_argument("--rounds", type=int, default=3, help="of the smoke run")
    parser.add_argument("--complete", action="store_true", help="a whole run too, once")
    given = parser.parse_args()
    words = ["run", "--method", given.method, "--tasks", "image-text"]
    dry = [sys.executable, "-m", "vlbench", *words, "--dry-run"]
    subprocess.run(dry, check=True, capture_output=True)
    show("smoke", given.method, [profile([*words, "--limit", "64"]) for _ in range(given.rounds)])
    if given.complete:
        show("complete", given.method, [profile(words)])


def profile(words: Sequence[str]) -> Counter[str]:
    """The seconds of each part of a run; together its wall time."""
    with tempfile.TemporaryDirectory() as folder:
        program = [sys.executable, str(Path(__file__).with_name("stopwatch.py"))]
        began = time.monotonic()
        started = [*program, "launcher", folder, str(began), *words, "--results", f"{folder}/runs"]
        subprocess.run(started, check=True, capture_output=True)
        wall = time.monotonic() - began
        launcher, worker = (
            json.loads(Path(folder, f"{name}.json").read_text(encoding="utf-8"))
            for name in ("launcher", "worker")
        )
    seconds: Counter[str] = Counter()
    for process, parts in (("command", launcher), ("worker", worker)):
        for names, taken in parts.items():
            seconds[part(process, names.split(SEPARATOR))] += taken
    seconds["command: end of Python"] = wall - sum(launcher.values())
    launching = seconds.pop("command: launching")  # all of the worker is within
    seconds["worker: end of Python, and noticing it"] = launching - sum(worker.values())
    return seconds


def part(process: str, names: Sequence[str]) -> str:
    """What a line of the table is called: the innermost part, and of which split."""
    name = names[-1] or REST
    split = next((outer for outer in names[:-1] if outer in ("validation", "test")), "")
    is_of_split = split and name in ("answers", "scores")
    return f"{process}: {name}, {split}" if is_of_split else f"{process}: {name}"


def show(kind: str, method: str, rounds: Sequence[Counter[str]]) -> None:
    """The medians of the rounds, the longest part first, and the harness's share."""
    walls = [parts.total() for parts in rounds]
    wall = statistics.median(walls)
    seconds = {
        name: statistics.median(parts[name] for parts in rounds)
        for name in sorted(set().union(*rounds))
    }
    print(f"{f'{kind} run of {method}':44}{'seconds':>9}{'%':>7}")
    shown = {name: took for name, took in seconds.items() if took >= LEAST * wall}
    shown[REST] = sum(seconds.values()) - sum(shown.values())
    for name, took in sorted(shown.items(), key=lambda item: (item[0] == REST, -item[1])):
        print(f"  {name:42}{took:9.2f}{100 * took / wall:7.1f}")
    ratios = [
        100 * (1 - sum(parts[name] for name in WORK) / whole)
        for parts, whole in zip(rounds, walls, strict=True)
    ]
    low, share, high = quartiles(ratios)
    print(f"  {'wall':42}{wall:9.2f}  (target on two idle cores: {TARGETS[kind]})")
    print(f"  {'harness, % of wall':42}{share:9.1f}  ({low:.1f} to {high:.1f})\n", flush=True)
    record("harness", kind=kind, method=method, wall=wall, harness_percent=share, seconds=seconds)


if __name__ == "__main__":
    main()
