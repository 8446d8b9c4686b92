"""Batches made ahead are the batches made one by one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from vlbench.data.batches import Batch, prefetched, prefetched_for
from vlbench.errors import DataError


def makers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "vlbench batches"]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_order_and_number_stay(count: int) -> None:
    assert list(prefetched(iter(range(count)))) == list(range(count))
    assert not makers()


def test_batches_for_a_gpu_are_pinned_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as a machine without one can tell: each tensor is asked once, in the thread."""
    whole = torch.arange(6).reshape(3, 2)
    batch = Batch("vqav2", ("a", "b", "c"), whole, whole.half(), whole, whole[:, 0].float())
    asked: list[str] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        asked.append(threading.current_thread().name)
        return tensor + 1

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    assert list(prefetched_for(torch.device("cpu"), iter([batch]))) == [batch]
    assert not asked
    (found,) = prefetched_for(torch.device("cuda"), iter([batch]))
    assert asked == ["vlbench batches"] * 4  # there are no shared inputs
    assert found.ids == batch.ids and found.inputs is None
    assert torch.equal(found.features, batch.features + 1)


def test_no_more_are_made_than_may_wait() -> None:
    made: list[int] = []

    def batches() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    each = prefetched(batches(), ahead=2)
    assert next(each) == 0
    time.sleep(0.3)
    assert len(made) <= 4  # the first, two that wait, one in hand
    each.close()  # type: ignore[attr-defined]
    assert not makers()


def test_an_error_comes_at_its_place() -> None:
    def batches() -> Iterator[int]:
        yield 1
        raise DataError("picture 7: damaged")

    each = prefetched(batches())
    assert next(each) == 1
    with pytest.raises(DataError, match="picture 7"):
        next(each)
    assert not makers()


def test_who_stops_early_leaves_no_thread() -> None:
    with pytest.raises(KeyboardInterrupt):
        for _ in prefetched(iter(range(1000))):
            raise KeyboardInterrupt
    time.sleep(0.3)
    assert not makers()


def test_the_next_batch_is_made_meanwhile() -> None:
    second = threading.Event()

    def batches() -> Iterator[int]:
        yield 1
        second.set()
        yield 2

    for number in prefetched(batches()):
        if number == 1:
            assert second.wait(timeout=20)
