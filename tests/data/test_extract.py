from __future__ import annotations

import os
from multiprocessing import get_context

import numpy as np
import pytest

from vlbench.data.stores.extract import extract, store_for
from vlbench.data.stores.own import FeatureStore
from vlbench.errors import DataError, RunFailed


def test_features_are_extracted_once_with_progress(encoder, pictures, tmp_path) -> None:
    told: list[tuple[int, int]] = []
    store = extract(encoder, pictures, tmp_path / "store", 2, lambda *at: told.append(at))
    assert told == [(2, 5), (4, 5), (5, 5)]
    assert store.ids == sorted(pictures)
    assert store.index["encoder"] == {"name": "fake", "hash": "abc", "tokens": 3, "width": 2}
    assert store.get(["p2"])[0].tolist() == [[80, 80], [175, 175], [7, 7]]


def test_a_second_call_finds_the_store_in_the_cache(encoder, pictures, cache) -> None:
    first = store_for(encoder, pictures, cache)
    second = store_for(encoder, pictures, cache)
    assert encoder.seen == 5 and first.folder == second.folder


def test_a_store_of_more_pictures_serves_fewer(encoder, pictures, cache) -> None:
    store_for(encoder, pictures, cache)
    store_for(encoder, dict(list(pictures.items())[:2]), cache)
    assert encoder.seen == 5


def test_another_encoder_or_a_changed_picture_is_extracted_again(encoder, pictures, cache) -> None:
    store_for(encoder, pictures, cache)
    encoder.hash = "other"
    store_for(encoder, pictures, cache)
    assert encoder.seen == 10
    os.utime(pictures["p0"], ns=(1, 1))
    store_for(encoder, pictures, cache)
    assert encoder.seen == 15


def test_a_damaged_store_in_the_cache_is_made_again(encoder, pictures, cache) -> None:
    store = store_for(encoder, pictures, cache)
    (store.folder / "index.json").write_text("{")
    assert store_for(encoder, pictures, cache).get(["p0"]).shape == (1, 3, 2)
    assert encoder.seen == 10


def test_unreadable_pictures_are_told_together_and_leave_no_store(encoder, pictures, cache) -> None:
    for name in ("p1", "p4"):
        pictures[name].write_bytes(pictures[name].read_bytes()[:60])
    with pytest.raises(DataError) as caught:
        store_for(encoder, pictures, cache, batch_size=1)
    assert caught.value.exit_code == 3
    assert [name in str(caught.value) for name in sorted(pictures)] == [0, 1, 0, 0, 1]
    assert encoder.seen == 1
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_absent_pictures_are_told_before_anything_is_encoded(encoder, pictures, cache) -> None:
    pictures["p3"].unlink()
    with pytest.raises(DataError, match=r"p3.png: picture cannot be read: No such file"):
        store_for(encoder, pictures, cache)
    assert encoder.seen == 0


def test_an_encoder_of_another_shape_is_refused(encoder, pictures, cache) -> None:
    encoder.tokens = 4
    with pytest.raises(RunFailed, match=r"should be \(5, 4, 2\), found \(5, 3, 2\)"):
        store_for(encoder, pictures, cache)


def test_the_fingerprint_depends_on_pixels_and_encoder_only(encoder, pictures, tmp_path) -> None:
    first = extract(encoder, pictures, tmp_path / "1")
    moved = {name: path.rename(tmp_path / f"{name}.png") for name, path in pictures.items()}
    second = extract(encoder, moved, tmp_path / "2")
    ids = ["p0", "p1"]
    assert first.fingerprint(ids) == second.fingerprint([*ids, "p0"]) != first.fingerprint(["p0"])
    encoder.hash = "other"
    assert extract(encoder, moved, tmp_path / "3").fingerprint(ids) != first.fingerprint(ids)


def _extract(encoder, pictures, cache, barrier) -> None:
    barrier.wait(20)
    store_for(encoder, pictures, cache)


def test_processes_that_extract_at_once_agree_on_one_store(encoder, pictures, cache) -> None:
    context = get_context("fork")
    barrier = context.Barrier(3)
    started = [
        context.Process(target=_extract, args=(encoder, pictures, cache, barrier)) for _ in range(3)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(30)
    assert [process.exitcode for process in started] == [0, 0, 0]
    [folder] = (cache / "features").glob("*/*")
    assert np.isfinite(FeatureStore.open(folder).get(sorted(pictures))).all()
