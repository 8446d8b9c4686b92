"""Writers of every layout that features are published in, for the tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from vlbench.data.stores.own import FeatureWriter

Features = Mapping[str, np.ndarray]


def own(path: Path, features: Features) -> Path:
    shape = next(iter(features.values())).shape
    with FeatureWriter(path, *shape) as writer:
        for image, values in features.items():
            writer.add([image], values[None])
        writer.finish(encoder={"name": "fake"})
    return path


def own_splits(path: Path, features: Features) -> Path:
    """A store for train, one for val."""
    ids = list(features)
    own(path / "train", {image: features[image] for image in ids[::2]})
    own(path / "val", {image: features[image] for image in ids[1::2]})
    return path


def hdf5_pictures(path: Path, features: Features) -> Path:
    import h5py

    path.mkdir(parents=True, exist_ok=True)
    for image, values in features.items():
        with h5py.File(path / f"{image}.h5", "w") as file:
            file[f"{image}/features"] = values
    return path


def hdf5_split(path: Path, features: Features) -> Path:
    """With boxes and sizes beside the features, as in VL-T5."""
    import h5py

    path = path.with_suffix(".h5")
    with h5py.File(path, "w") as file:
        for image, values in features.items():
            file[f"{image}/features"] = values
            file[f"{image}/boxes"] = np.zeros((len(values), 4), np.float32)
            file[f"{image}/img_w"] = 640
    return path


def parquet_shards(
    path: Path,
    features: Features,
    column: str = "id",
    kind: str = "fixed",
    rows: int = 2,
    shape: tuple[int, ...] | None = None,
) -> Path:
    """Shards of three pictures; lists of fixed size, lists, or nested lists."""
    path.mkdir(parents=True, exist_ok=True)
    ids = list(features)
    for shard, at in enumerate(range(0, len(ids), 3)):
        some = ids[at : at + 3]
        table = pa.table({column: some, "features": _lists([features[i] for i in some], kind)})
        said = next(iter(features.values())).shape if shape is None else shape
        metadata = dict(zip(("tokens", "width"), map(str, said), strict=False))
        table = table.replace_schema_metadata(metadata)
        parquet.write_table(table, path / f"part-{shard:03}.parquet", row_group_size=rows)
    return path


def npz(path: Path, features: Features) -> Path:
    """With the second array that HERO's extractor leaves in its archives."""
    path.mkdir(parents=True, exist_ok=True)
    for clip, values in features.items():
        arrays: dict[str, Any] = {"features": values, "other": np.array(True)}
        np.savez(path / f"{clip}.npz", **arrays)
    return path


def _lists(values: list[np.ndarray], kind: str) -> Any:
    flat = pa.array(np.concatenate([each.reshape(-1) for each in values]))
    tokens, width = values[0].shape
    if kind == "fixed":
        return pa.FixedSizeListArray.from_arrays(flat, tokens * width)
    if kind == "list":
        ends = np.arange(len(values) + 1) * tokens * width
        return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), flat)
    inner = pa.FixedSizeListArray.from_arrays(flat, width)
    ends = np.arange(len(values) + 1) * tokens
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), inner)


FORMATS = {
    "own": own,
    "own_splits": own_splits,
    "hdf5_pictures": hdf5_pictures,
    "hdf5_split": hdf5_split,
    "parquet": parquet_shards,
    "npz": npz,
}
