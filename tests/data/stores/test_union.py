from __future__ import annotations

import numpy as np
import pytest

from tests.data.stores.formats import npz, own
from vlbench.data.stores.base import Union
from vlbench.data.stores.published import open_store
from vlbench.errors import DataError


def test_the_first_store_that_has_an_id_gives_its_features(features, tmp_path) -> None:
    other = {**{image: -values for image, values in features.items()}, "new": features["n161313"]}
    first, second = (
        open_store(own(tmp_path / "a", features)),
        open_store(npz(tmp_path / "b", other)),
    )
    union = Union([first, second])
    assert np.array_equal(union.read("2354786"), features["2354786"])
    assert np.array_equal(union.read("new"), features["n161313"])
    assert union.missing(["new", "x", "2354786"]) == ["x"]
    assert union.encoder == "fake"
    with pytest.raises(DataError, match="no features of x, nor in the other stores"):
        union.read("x")


def test_many_at_once_are_those_read_one_by_one(features, tmp_path) -> None:
    first = open_store(own(tmp_path / "a", features))
    second = open_store(npz(tmp_path / "b", {"new": -features["n161313"]}))
    union = Union([second, first])
    for ids in (["new"], ["2354786", "new", "n161313", "new", "2354786"], ["2354786"] * 2):
        together = union.get(ids)
        assert np.array_equal(together, np.stack([union.read(image) for image in ids]))


def test_float32_features_keep_their_digits_beside_float16_ones(features, tmp_path) -> None:
    exact = {"half": features["2354786"], "new": features["n161313"].astype(np.float32) + 1e-6}
    first = open_store(own(tmp_path / "a", features))
    second = open_store(npz(tmp_path / "b", exact))
    together = Union([first, second]).get(["n161313", *(["half"] * 9), "new"])
    assert together.dtype == np.float32
    assert np.array_equal(together[-1], second.read("new"))
    assert np.array_equal(together[0], features["n161313"])


def test_stores_of_different_widths_are_refused(features, tmp_path) -> None:
    narrow = {image: values[:, :3] for image, values in features.items()}
    stores = [open_store(own(tmp_path / "a", features)), open_store(npz(tmp_path / "b", narrow))]
    with pytest.raises(DataError, match=r"features of width 3, .* of 6"):
        Union(stores)


def test_a_store_that_nothing_is_read_from_does_not_change_the_fingerprint(
    features, tmp_path
) -> None:
    first = open_store(own(tmp_path / "a", features))
    second = open_store(npz(tmp_path / "b", {"new": features["n161313"]}))
    union = Union([first, second])
    assert union.fingerprint(features) == first.fingerprint(features)
    assert union.fingerprint([*features, "new"]) != first.fingerprint(features)
