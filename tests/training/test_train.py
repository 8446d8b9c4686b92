"""The training loop: every batch once an epoch in the authors' order, and the three losses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.toys import Task, Watcher, new_trainer
from vlbench.data.batches import sample_answer
from vlbench.errors import RunFailed
from vlbench.techniques.adapt import trained_state
from vlbench.training.train import loss, task_order, weight

KINDS = pytest.mark.parametrize("kind", ["per-token", "per-example", "score-weighted"])


def test_every_batch_of_every_task_is_a_step_in_the_authors_order() -> None:
    watcher, trainer = Watcher(), new_trainer(tasks=(Task("a", 5, 2), Task("b", 4, 2)))
    trainer.train(watcher)
    assert [step.number for step in watcher.steps] == list(range(1, 11))
    assert {step.total for step in watcher.steps} == {10}
    orders = [task_order({"a": 3, "b": 2}, epoch) for epoch in (0, 1)]
    assert [step.task for step in watcher.steps] == [*orders[0], *orders[1]]
    assert [step.epoch for step in watcher.steps] == [1] * 5 + [2] * 5
    assert watcher.epochs == [1, 2]
    assert trainer.examples == 18


def with_score(monkeypatch: pytest.MonkeyPatch, task: str, score: float) -> None:
    """Give the sampled answers of a task this score."""
    batch = Task.batch

    def scored(self: Task, places: list[int], scores: list[float]) -> Any:
        return batch(self, places, [score] * len(scores) if self.name == task else scores)

    monkeypatch.setattr(Task, "batch", scored)


def test_answers_without_a_score_move_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with_score(monkeypatch, "one", sample_answer({}, np.random.default_rng(0))[1])
    trainer = new_trainer(tasks=(Task("one"),), weight_decay=0.0)
    before = {name: tensor.clone() for name, tensor in trained_state(trainer.bare).items()}
    trainer.train(Watcher())
    assert all(torch.equal(t, before[name]) for name, t in trained_state(trainer.bare).items())


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_fails_with_step_task_and_example(
    score: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_score(monkeypatch, "b", score)
    trainer = new_trainer(tasks=(Task("a", 2, 2), Task("b", 2, 2)), epochs=1)
    step = task_order({"a": 1, "b": 1}, 0).index("b") + 1
    with pytest.raises(RunFailed, match=rf"Loss (nan|inf), .* at step {step} \(task b\)"):
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


@KINDS
def test_the_losses_of_shares_by_their_weight_are_the_batchs(kind: str) -> None:
    shares = [slice(0, 1), slice(1, 2)]
    losses = [loss(LOGITS[s], TARGETS[s], SCORES[s], kind) for s in shares]
    weights = [weight(TARGETS[s], kind) for s in shares]
    whole = sum(part * share for part, share in zip(losses, weights, strict=True))
    torch.testing.assert_close(whole / sum(weights), loss(LOGITS, TARGETS, SCORES, kind))
    assert sum(weights) == (4 if kind == "per-token" else 2)


def test_the_order_is_the_authors(shared_folder: Path) -> None:
    file = shared_folder / "golden" / "methods" / "multitask_order.json"
    for lengths, epochs in json.loads(file.read_text())["orders"].items():
        for epoch, steps in epochs.items():
            assert task_order(json.loads(lengths), int(epoch)) == [task for task, _ in steps]
