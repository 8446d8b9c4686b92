"""The training loop on a model of one weight a task."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from vlbench.cards.schema import TrainSettings
from vlbench.data.batches import WHOLE, Batch, sample_answer
from vlbench.errors import RunFailed
from vlbench.techniques.base import NoParams
from vlbench.techniques.selective import Full
from vlbench.training.train import Step, Trainer, loss, task_order, weight


class Model(nn.Module):
    """Logits of two tokens, from one weight; dropout makes it random."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.dropout = nn.Dropout(0.5)
        self.technique = Full(NoParams(), "all", ())

    def undecayed(self) -> list[nn.Parameter]:
        return []

    def label_logits(self, batch: Batch) -> torch.Tensor:
        count = int((batch.target_ids != -100).sum())
        logits: torch.Tensor = self.dropout(self.weight + self.frozen).expand(count, 2)
        return logits


@dataclass
class Task:
    """Batches of two examples each, all with the same target."""

    name: str
    batches: int
    score: float = 1.0
    size: int = 2

    @property
    def card(self) -> Any:
        return SimpleNamespace(name=self.name, loss="score-weighted")

    def epoch(self, random: np.random.Generator, skip: int = 0, share: slice = WHOLE) -> Any:
        for number in range(self.batches):
            drawn = random.integers(1000)
            ids = tuple(f"{self.name}-{number}-{drawn}-{i}" for i in range(self.size))[share]
            target = torch.tensor([[0]] * len(ids)).reshape(len(ids), 1)
            scores = torch.full((len(ids),), self.score)
            if number >= skip:
                yield Batch(self.name, ids, target, torch.zeros(len(ids), 1, 1, 1), target, scores)


class Watcher:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.epochs: list[int] = []

    def on_step(self, step: Step) -> None:
        self.steps.append(step)

    def on_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


def new_trainer(tasks: list[Task] | None = None, **settings: Any) -> Trainer:
    torch.manual_seed(3)
    tasks = tasks or [Task("a", 3), Task("b", 2)]
    given = TrainSettings(**{"epochs": 2, "learning_rate": 0.1, **settings})
    model: Any = Model()
    return Trainer(model, tasks, given, 0, Accelerator(cpu=True))  # type: ignore[arg-type]


def trained(trainer: Trainer) -> torch.Tensor:
    model: Any = trainer.bare
    return model.weight.detach().clone()  # type: ignore[no-any-return]


def test_every_batch_of_every_task_is_a_step_in_the_authors_order() -> None:
    watcher, trainer = Watcher(), new_trainer()
    trainer.train(watcher)
    assert [step.number for step in watcher.steps] == list(range(1, 11))
    assert {step.total for step in watcher.steps} == {10}
    orders = [task_order({"a": 3, "b": 2}, epoch) for epoch in (0, 1)]
    assert [step.task for step in watcher.steps] == [*orders[0], *orders[1]]
    assert [step.epoch for step in watcher.steps] == [1] * 5 + [2] * 5
    assert watcher.epochs == [1, 2]
    assert trainer.examples == 20


def test_epochs_have_orders_of_their_own_that_follow_from_the_seed() -> None:
    trainer = new_trainer()
    first, again, second = (
        [b.ids for b in trainer._batches(epoch, trainer.tasks)] for epoch in (0, 0, 1)
    )
    assert first == again != second


def test_frozen_tensors_stay() -> None:
    trainer = new_trainer()
    trainer.train(Watcher())
    model: Any = trainer.bare
    assert torch.equal(model.frozen, torch.ones(2))
    assert not torch.equal(model.weight, torch.zeros(2))


def test_answers_without_a_score_move_nothing() -> None:
    trainer = new_trainer([Task("a", 3, score=sample_answer({}, np.random.default_rng(0))[1])])
    trainer.train(Watcher())
    assert torch.equal(trained(trainer), torch.zeros(2))


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_fails_with_step_task_and_example(score: float) -> None:
    trainer = new_trainer([Task("a", 1), Task("b", 1, score)], epochs=1)
    step = task_order({"a": 1, "b": 1}, 0).index("b") + 1
    with pytest.raises(
        RunFailed, match=rf"Loss is (nan|inf) at step {step} \(task b, a batch of 2 .*b-0"
    ):
        trainer.train(Watcher())


LOGITS = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([[1, 2, 3], [4, -100, -100]])
SCORES = torch.tensor([0.3, 1.0])
NLL = -LOGITS.log_softmax(-1).gather(-1, TARGETS.clamp(min=0)[..., None])[..., 0]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("per-token", (NLL[0].sum() + NLL[1, 0]) / 4),
        ("per-example", (NLL[0].mean() + NLL[1, 0]) / 2),
        ("score-weighted", (0.3 * NLL[0].mean() + 1.0 * NLL[1, 0]) / 2),
    ],
)
def test_each_kind_averages_as_it_says(kind: str, expected: torch.Tensor) -> None:
    torch.testing.assert_close(loss(LOGITS, TARGETS, SCORES, kind), expected)


@pytest.mark.parametrize("kind", ["per-token", "per-example", "score-weighted"])
def test_a_batch_without_targets_costs_nothing(kind: str) -> None:
    assert loss(LOGITS, torch.full_like(TARGETS, -100), SCORES, kind).item() == 0


@pytest.mark.parametrize("kind", ["per-token", "per-example", "score-weighted"])
def test_the_losses_of_shares_by_their_weight_are_the_batchs(kind: str) -> None:
    shares = [slice(0, 1), slice(1, 2)]
    losses = [loss(LOGITS[s], TARGETS[s], SCORES[s], kind) for s in shares]
    weights = [weight(TARGETS[s], kind) for s in shares]
    whole = sum(each * part for each, part in zip(losses, weights, strict=True))
    torch.testing.assert_close(whole / sum(weights), loss(LOGITS, TARGETS, SCORES, kind))
    assert sum(weights) == (4 if kind == "per-token" else 2)


def test_an_epoch_has_every_batch_of_every_task_once() -> None:
    batches = {"vqav2": 5, "gqa": 6, "nlvr2": 2, "coco": 4}
    assert Counter(task_order(batches, epoch=7)) == batches
    assert task_order(batches, 0) != task_order(batches, 1) == task_order(batches, 1)


def test_the_order_is_the_authors(shared_folder: Path) -> None:
    file = shared_folder / "golden" / "methods" / "multitask_order.json"
    for lengths, epochs in json.loads(file.read_text())["orders"].items():
        for epoch, steps in epochs.items():
            assert task_order(json.loads(lengths), int(epoch)) == [task for task, _ in steps]
