"""Batches in parts: the whole batch's gradient, however large they are or memory is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from accelerate import Accelerator

from tests.techniques.models import adapted, stirred
from tests.techniques.toys import TASKS, toy_batch
from tests.training.toys import Task
from vlbench.cards.schema import TrainSettings
from vlbench.data.batches import FeatureBatch
from vlbench.techniques.adapt import AdaptedModel, trained_parameters
from vlbench.training.distributed import ALONE
from vlbench.training.train import MicroBatches, Trainer

OUT = torch.OutOfMemoryError("CUDA out of memory")


def batch_of(count: int) -> FeatureBatch:
    """Examples whose targets differ in length."""
    toy = toy_batch()
    target_ids = torch.randint(3, 100, (count, 6), generator=torch.Generator().manual_seed(1))
    target_ids[torch.arange(6)[None] > torch.arange(count)[:, None]] = -100
    return FeatureBatch(
        task=TASKS[0],
        ids=tuple(map(str, range(count))),
        input_ids=toy.input_ids.repeat(count, 1)[:count],
        features=toy.features.repeat(count, 1, 1, 1)[:count],
        target_ids=target_ids,
        scores=torch.linspace(0.3, 1.0, count),
    )


def gradient(
    model: AdaptedModel, parts: MicroBatches, kind: str = "per-example", count: int = 7
) -> tuple[float, dict[str, Any]]:
    model.zero_grad()
    tasks: Any = [Task(name, loss=kind) for name in TASKS]
    trainer = Trainer(model, tasks, TrainSettings(), 0, Accelerator(cpu=True), ALONE, parts)
    value, examples = trainer.gradient(batch_of(count))
    assert examples == count
    return value, {name: p.grad for name, p in trained_parameters(model).items()}


def assert_same(found: tuple[float, Any], expected: tuple[float, Any]) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    for name, each in expected[1].items():
        torch.testing.assert_close(found[1][name], each, atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.parametrize("kind", ["score-weighted", "per-example", "per-token"])
@pytest.mark.parametrize("most", [1, 2, 3, 6, 7, 50])
def test_parts_add_up_to_the_batch(kind: str, most: int) -> None:
    model = stirred(adapted("bart", technique="adapter"))
    expected = gradient(model, MicroBatches(), kind)
    assert_same(gradient(model, MicroBatches(most), kind), expected)


def test_a_penalty_counts_once() -> None:
    model = adapted("bart", technique="adapter")
    weight = next(iter(model.technique.parameters()))
    model.technique.penalty = lambda: (weight**2).sum()
    expected = gradient(model, MicroBatches())
    assert_same(gradient(model, MicroBatches(2)), expected)


class Scarce(MicroBatches):
    """Memory that ends above so many examples, in the backward pass of some part."""

    def __init__(self, room: int, max_batch: Any = "auto") -> None:
        self.said: list[str] = []
        super().__init__(max_batch, self.said.append)
        self.room = room

    def of(self, batch: FeatureBatch) -> Any:
        for number, part in enumerate(super().of(batch)):
            if len(part.ids) > self.room and number == len(batch.ids) // len(part.ids) - 1:
                raise OUT
            yield part


def test_where_memory_ends_smaller_parts_give_the_same_gradient_and_dropout() -> None:
    model = stirred(adapted("bart", technique="adapter", train={"dropout": 0.3})).train()
    torch.manual_seed(5)
    expected = gradient(model, MicroBatches(1))
    torch.manual_seed(5)
    scarce = Scarce(room=1)
    assert_same(gradient(model, scarce), expected)
    assert scarce.said == [
        "out of memory with 7 examples at once: going on with 3, the batch stays 7",
        "out of memory with 3 examples at once: going on with 1, the batch stays 7",
    ]


@pytest.mark.parametrize("max_batch", [None, 4])
def test_only_auto_goes_on_after_memory_ended(max_batch: int | None) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        gradient(adapted("bart", technique="adapter"), Scarce(1, max_batch))
