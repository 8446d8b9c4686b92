"""Orders of an epoch: every example once, and what each promises."""

from __future__ import annotations

import numpy as np
import pytest

from vlbench.data.batches import WINDOW, by_group, by_length

COUNTS = [0, 1, 7, 8, 8 * WINDOW, 8 * WINDOW + 3, 1000]


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("count", COUNTS)
def test_every_example_comes_once_in_any_order(count: int) -> None:
    lengths = random().integers(1, 100, count)
    keys = random().integers(0, 1 + count // 5, count).tolist()
    for order in (by_length(lengths, 8, random()), by_group(keys, random())):
        assert sorted(order.tolist()) == list(range(count))
        assert order.dtype == np.int64


def test_batches_of_like_lengths_hardly_need_padding_and_come_in_any_order() -> None:
    lengths = random(1).integers(1, 100, 1003)
    order = by_length(lengths, 10, random())
    batches = [lengths[order[start : start + 10]] for start in range(0, 1003, 10)]
    wasted = sum(int((batch.max() - batch).sum()) for batch in batches)
    by_any = lengths[random().permutation(1003)]
    wasted_by_any = sum(
        int((by_any[start : start + 10].max() - by_any[start : start + 10]).sum())
        for start in range(0, 1003, 10)
    )
    assert wasted < wasted_by_any / 10
    means = [float(batch.mean()) for batch in batches[:WINDOW]]
    assert means != sorted(means)
    assert len(batches[-1]) == 3


def test_groups_stay_together_in_their_own_order() -> None:
    keys = ["a", "b", "a", "c", "b", "a"]
    order = by_group(keys, random(2)).tolist()
    at = order.index(0)
    assert order[at : at + 3] == [0, 2, 5]
    assert order.index(4) == order.index(1) + 1
    assert {tuple(by_group(keys, random(seed))) for seed in range(20)} != {tuple(order)}


@pytest.mark.parametrize("seed", [0, 1])
def test_one_seed_gives_one_order(seed: int) -> None:
    lengths = random(9).integers(1, 100, 333)
    np.testing.assert_array_equal(
        by_length(lengths, 8, random(seed)), by_length(lengths, 8, random(seed))
    )
    np.testing.assert_array_equal(
        by_group(lengths.tolist(), random(seed)), by_group(lengths.tolist(), random(seed))
    )
