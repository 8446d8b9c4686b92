"""What `vlbench report` takes on 100, 1,000 and 10,000 runs, packed or each in a folder.

`python benchmarks/report_scale.py [--folders] [RUNS ...]` copies the rows of a committed run under
other methods, settings and seeds, with predictions of 100 examples a task so that the disk stays
small, and runs the command as a user does. `read` are the seconds in which rows and scores of all
runs are read, `report` those of the command: reading, averages, tests and writing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from measure import record

from vlbench.runs.packed import TABLES, Pack
from vlbench.runs.packing import write_table

HOME = Path(__file__).resolve().parents[1]
SEEDS = 5
EXAMPLES = 100
METHODS = 28
Scores = dict[str, npt.NDArray[np.bool_]]  # task -> (runs, examples)
READ = """
import sys, time
from pathlib import Path
from vlbench.leaderboard.examples import Examples
from vlbench.leaderboard.results import read_results

began = time.monotonic()
rows = read_results(Path(sys.argv[1]))
examples = Examples(Path(sys.argv[1]))
for key, task in rows[["key", "task"]].drop_duplicates().itertuples(index=False):
    examples.scores(key, task)
print(time.monotonic() - began)
"""


def make(folder: Path, runs: int, is_packed: bool) -> None:
    """Write so many runs: methods with their settings, five seeds each."""
    source = pq.read_table(HOME / "results" / "mini" / "packed" / "image-text" / "rows.parquet")
    one = source.filter(pc.equal(source["key"], source["key"][0]))
    rng, size = np.random.default_rng(0), one.num_rows
    numbers = np.repeat(np.arange(runs), size)
    row, seed = np.divmod(numbers, SEEDS)
    changed = {
        "key": [f"{number:016x}" for number in numbers],
        "method": [f"method-{n % METHODS}" for n in row],
        "settings": [f"params.size={n // METHODS}" if n >= METHODS else "" for n in row],
        "seed": seed,
        "value": np.tile(one["value"].to_numpy(), runs) + rng.normal(size=len(numbers)),
    }
    rows = one.take(np.tile(np.arange(size), runs))
    for name, cells in changed.items():
        field = rows.schema.field(name)
        rows = rows.set_column(rows.schema.names.index(name), field, pa.array(cells, field.type))
    keys = [f"{number:016x}" for number in range(runs)]
    tasks = sorted(set(one["task"].to_pylist()))
    scores = {task: rng.random((runs, EXAMPLES)) < 0.6 for task in tasks}
    (write_packed if is_packed else write_folders)(folder, rows, keys, scores)


def write_packed(folder: Path, rows: pa.Table, keys: list[str], scores: Scores) -> None:
    """Write the rows and the predictions as `vlbench results pack` does."""
    pack = Pack(folder / "packed" / "image-text")
    pack.folder.mkdir(parents=True)
    tables = {"rows": [rows], "predictions": []}
    for task, values in scores.items():
        ids = [str(number) for number in range(EXAMPLES)] * len(keys)
        cells = {"key": np.repeat(keys, EXAMPLES), "task": [task] * len(ids), "id": ids}
        cells |= {name: [""] * len(ids) for name in ("family", "text", "prediction", "references")}
        cells |= {"images": [[text] for text in ids], "score": values.ravel().astype(float)}
        tables["predictions"].append(pa.table(cells, schema=TABLES["predictions"]))
    for name, schema in TABLES.items():
        write_table(
            pack.file(name), pa.concat_tables([schema.empty_table(), *tables.get(name, [])])
        )


def write_folders(folder: Path, rows: pa.Table, keys: list[str], scores: Scores) -> None:
    """Write each run's result and predictions to its folder."""
    size = rows.num_rows // len(keys)
    for number, key in enumerate(keys):
        run = folder / "runs" / key
        (run / "predictions").mkdir(parents=True)
        pq.write_table(rows.slice(number * size, size), run / "result.parquet")
        for task, values in scores.items():
            ids = [str(number) for number in range(EXAMPLES)]
            table = pa.table({"id": ids, "score": values[number].astype(float)})
            pq.write_table(table, run / "predictions" / f"{task}.parquet")


def reading(folder: Path) -> float:
    """Return the seconds in which the rows and the scores of all runs are read."""
    words = [sys.executable, "-c", READ, str(folder)]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


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


def main(sizes: list[int], is_packed: bool) -> None:
    """Print the table."""
    print(f"{'runs':>7}{'read':>10}{'report':>10}{'peak MB':>9}")
    for runs in sizes:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "results"
            make(folder, runs, is_packed)
            read = reading(folder)
            seconds, memory = timed(folder, Path(temporary) / "report.json")
        print(f"{runs:>7,}{read:>10.2f}{seconds:>10.1f}{memory:>9,.0f}", flush=True)
        facts = {"read_seconds": read, "seconds": seconds, "peak_mb": memory}
        record("report_scale", runs=runs, is_packed=is_packed, **facts)


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:] if text != "--folders"]
    main(numbers or [100, 1_000, 10_000], "--folders" not in sys.argv)
