"""What does it cost to open the real VQAv2's splits: parsed by the reader, indexed, and again?

Files of the official format and size (full_size_vqav2.py) are read three times, each time in a
process of its own whose time (imports included) and peak memory are told:

- `reader`: the reader's lists of the Karpathy splits train, val and test, without any index;
- `first`: the first opening, which reads the same and writes the indices;
- `again`: every later one: all splits there, their pictures listed, a first batch of 500.

    python benchmarks/vqav2_reading.py [--root ROOT]    # ROOT keeps the 700 MB; else temporary
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import record

STARTED = time.perf_counter()
SPLITS = (("train", True), ("val", False), ("test", False))
BATCH = 500


def main() -> None:
    """Measure in processes of their own, and print a table."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--root", type=Path, help="where the files are, or are to be kept")
    arguments.add_argument("--measure", choices=["reader", "first", "again"])
    given = arguments.parse_args()
    if given.measure:
        print(json.dumps(measured(given.measure, given.root)))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = given.root or Path(folder) / "root"
        if not (root / "vqa").is_dir():
            from full_size_vqav2 import write_full_size

            started = time.perf_counter()
            write_full_size(root)
            print(f"wrote the files in {time.perf_counter() - started:.0f} s")
        report(root, Path(folder) / "cache")


def report(root: Path, cache: Path) -> None:
    """The three ways, each in a new process, the last one three times."""
    size = sum(file.stat().st_size for file in root.rglob("*.json"))
    print(f"annotation files: {size / 1e6:,.0f} MB")
    print(f"{'opening':10}{'seconds':>10}{'peak MB':>10}  examples of {'/'.join(dict(SPLITS))}")
    found = {}
    for way in ("reader", "first", "again", "again", "again"):
        found[way] = in_process(way, root, cache)
        seconds, peak = found[way]["seconds"], found[way]["peak_mb"]
        print(f"{way:10}{seconds:10.2f}{peak:10,.0f}  {found[way]['examples']}")
        record("vqav2_reading", way=way, **found[way])
    size = sum(file.stat().st_size for file in (cache / "index").iterdir())
    ratio = found["first"]["seconds"] / found["again"]["seconds"]
    print(f"indices: {size / 1e6:,.0f} MB; opening again is {ratio:,.0f} times as fast")


def in_process(way: str, root: Path, cache: Path) -> dict[str, Any]:
    """The figures of one way."""
    command = [sys.executable, __file__, "--measure", way, "--root", str(root)]
    environment = {**os.environ, "VLBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measured(way: str, root: Path) -> dict[str, Any]:
    """Seconds since the start of the process, and its peak memory."""
    from vlbench.data.readers import load_reader

    reader = load_reader("vqav2", root)
    if way == "reader":
        lists = [reader.read_train(s) if train else reader.read(s) for s, train in SPLITS]
        counts = [len(examples) for examples in lists]
    else:
        from vlbench.data.table import indexed

        tables = [indexed(reader, split, train) for split, train in SPLITS]
        for table in tables:
            table.images()
        list(tables[0].take(range(0, BATCH * 997, 997)))
        counts = [len(table) for table in tables]
    return {
        "seconds": time.perf_counter() - STARTED,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "examples": "/".join(f"{count:,}" for count in counts),
    }


if __name__ == "__main__":
    main()
