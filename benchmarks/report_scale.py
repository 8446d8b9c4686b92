"""What `vlbench report` takes on 100, 1,000 and 10,000 runs.

`python benchmarks/report_scale.py [RUNS ...]` copies the rows of a committed run under other
methods, settings and seeds, with predictions of 100 examples a task so that the disk stays small,
and runs the command as a user does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import record

HOME = Path(__file__).resolve().parents[1]
SEEDS = 5
EXAMPLES = 100
METHODS = 28


def make(folder: Path, runs: int) -> None:
    """So many runs: methods with their settings, five seeds each."""
    source = sorted((HOME / "results" / "mini" / "runs").glob("*/result.parquet"))[0]
    rows = pq.read_table(source)
    tasks = sorted(set(rows.column("task").to_pylist()))
    for number in range(runs):
        row, seed = divmod(number, SEEDS)
        key = f"{number:016x}"
        changed = {
            "key": key,
            "method": f"method-{row % METHODS}",
            "settings": f"params.size={row // METHODS}" if row >= METHODS else "",
            "seed": seed,
        }
        write(folder / "runs" / key, rows, changed, tasks, np.random.default_rng(number))


def write(
    run: Path,
    rows: pa.Table,
    changed: dict[str, str | int],
    tasks: list[str],
    rng: np.random.Generator,
) -> None:
    """One run's result and predictions."""
    (run / "predictions").mkdir(parents=True)
    for name, value in changed.items():
        position = rows.schema.get_field_index(name)
        column = pa.array([value] * rows.num_rows, rows.schema.field(name).type)
        rows = rows.set_column(position, rows.schema.field(name), column)
    values = pa.array(np.asarray(rows.column("value").to_numpy()) + rng.normal(size=rows.num_rows))
    position = rows.schema.get_field_index("value")
    pq.write_table(
        rows.set_column(position, rows.schema.field("value"), values), run / "result.parquet"
    )
    for task in tasks:
        scores = (rng.random(EXAMPLES) < 0.6).astype(float)
        table = pa.table({"id": [str(i) for i in range(EXAMPLES)], "score": scores})
        pq.write_table(table, run / "predictions" / f"{task}.parquet")


def timed(folder: Path, out: Path) -> tuple[float, float]:
    """Seconds of the report, and the peak of its memory in MB."""
    words = [sys.executable, "-m", "vlbench", "report", "--results", str(folder)]
    words += ["--format", "json", "--out", str(out)]
    began = time.monotonic()
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"vlbench report ended with {process.returncode}")
    return time.monotonic() - began, usage.ru_maxrss / 1000


def main(sizes: list[int]) -> None:
    """Print the table."""
    print(f"{'runs':>7}{'seconds':>10}{'peak MB':>9}")
    for runs in sizes:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "results"
            make(folder, runs)
            seconds, memory = timed(folder, Path(temporary) / "report.json")
        print(f"{runs:>7,}{seconds:>10.1f}{memory:>9,.0f}", flush=True)
        record("report_scale", runs=runs, seconds=seconds, peak_mb=memory)


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [100, 1_000, 10_000])
