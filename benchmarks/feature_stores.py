"""How fast each feature store is read: random batches of random features in a temporary folder.

`python benchmarks/feature_stores.py [--rows 2000] [--tokens 49] [--folder DIR]` prints a table:
rows per second in batches of 64 in random order, and the ratio to our own store. The files have
just been written, so they come from the system's page cache: what is measured is the format.
Parquet is unpacked into the cache before it is read: `once, s` says how long that takes.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import pyarrow as pa
from measure import record
from pyarrow import parquet

from vlbench.data.stores.own import write_store
from vlbench.data.stores.published import open_store

BATCH = 64
WIDTH = 2048
CLIP_WIDTH = 512
"""Of VALUE's features."""
Rows = Iterator[tuple[str, np.ndarray]]


def write_own(path: Path, rows: Rows, tokens: int) -> Path:
    """One folder."""
    return write_store(path, (([name], row[None]) for name, row in rows)).path


def write_splits(path: Path, rows: Rows, tokens: int) -> Path:
    """A folder per split."""
    every = list(rows)
    write_own(path / "train", iter(every[::2]), tokens)
    write_own(path / "val", iter(every[1::2]), tokens)
    return path


def write_hdf5_pictures(path: Path, rows: Rows, tokens: int) -> Path:
    """A file per picture."""
    path.mkdir()
    for name, row in rows:
        with h5py.File(path / f"{name}.h5", "w") as file:
            file[f"{name}/features"] = row
    return path


def write_hdf5_split(path: Path, rows: Rows, tokens: int) -> Path:
    """One file."""
    path = path.with_suffix(".h5")
    with h5py.File(path, "w") as file:
        for name, row in rows:
            file[f"{name}/features"] = row
    return path


def write_parquet(group: int) -> Callable[[Path, Rows, int], Path]:
    """Shards of 1,024 rows in row groups of that size."""

    def write(path: Path, rows: Rows, tokens: int) -> Path:
        path.mkdir()
        every = list(rows)
        for at in range(0, len(every), 1024):
            some = every[at : at + 1024]
            values = pa.array(np.concatenate([row.reshape(-1) for _, row in some]))
            lists = pa.FixedSizeListArray.from_arrays(values, tokens * WIDTH)
            table = pa.table({"id": [name for name, _ in some], "features": lists})
            table = table.replace_schema_metadata({"tokens": str(tokens), "width": str(WIDTH)})
            target = path / f"{at:06}.parquet"
            parquet.write_table(table, target, row_group_size=group, compression="none")
        return path

    return write


def write_npz(path: Path, rows: Rows, tokens: int) -> Path:
    """An archive per clip, each row cut to the width of VALUE's features."""
    path.mkdir()
    for name, row in rows:
        np.savez(path / f"{name}.npz", features=row[:, :CLIP_WIDTH])
    return path


STORES = {
    "own, one folder": write_own,
    "own, a folder per split": write_splits,
    "HDF5, a file per picture": write_hdf5_pictures,
    "HDF5, one file": write_hdf5_split,
    "Parquet, row groups of 16": write_parquet(16),
    "Parquet, row groups of 256": write_parquet(256),
    f"npz, a file per clip ({CLIP_WIDTH} wide)": write_npz,
}


def features(count: int, tokens: int) -> Rows:
    """Random rows by id."""
    random = np.random.default_rng(0)
    for number in range(count):
        yield f"{number:06}", random.random((tokens, WIDTH), dtype=np.float32).astype(np.float16)


def rows_per_second(path: Path, count: int, seconds: float = 3.0) -> tuple[float, float, float]:
    """(seconds to open, seconds to prepare once, rows read per second in random batches)."""
    times = [time.perf_counter()]
    store = open_store(path)
    times.append(time.perf_counter())
    store.prepare(lambda _: None)
    times.append(time.perf_counter())
    random = np.random.default_rng(1)
    read, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        order = random.permutation(count)
        for at in range(0, count - BATCH + 1, BATCH):
            store.get([f"{number:06}" for number in order[at : at + BATCH]])
            read += BATCH
            if time.perf_counter() - started >= seconds:
                break
    speed = read / (time.perf_counter() - started)
    return times[1] - times[0], times[2] - times[1], speed


def main() -> None:
    """Write, read and print, one store after the other."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--rows", type=int, default=2000)
    words.add_argument("--tokens", type=int, default=49)
    words.add_argument("--folder", type=Path, help="where to write; a temporary folder if left out")
    asked = words.parse_args()
    print(f"{asked.rows:,} rows of {asked.tokens} x {WIDTH} float16, random batches of {BATCH}\n")
    print(f"{'store':<34}{'open, ms':>9}{'once, s':>9}{'rows/s':>9}{'MB/s':>8}{'of own':>8}")
    own = None
    for name, write in STORES.items():
        with TemporaryDirectory(dir=asked.folder) as folder:
            os.environ["VLBENCH_CACHE"] = str(Path(folder) / "cache")
            rows = features(asked.rows, asked.tokens)
            path = write(Path(folder) / "store", rows, asked.tokens)
            opened, prepared, speed = rows_per_second(path, asked.rows)
        own = own or speed
        width = CLIP_WIDTH if name.startswith("npz") else WIDTH
        megabytes = speed * asked.tokens * width * 2 / 1e6
        times = f"{opened * 1000:>9.1f}{prepared:>9.1f}"
        print(f"{name:<34}{times}{speed:>9,.0f}{megabytes:>8,.0f}{speed / own:>8.2f}")
        told = {"opened": opened, "prepared": prepared, "rows_per_second": speed}
        record("feature_stores", store=name, tokens=asked.tokens, ratio=speed / own, **told)


if __name__ == "__main__":
    main()
