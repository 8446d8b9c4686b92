"""Training ends as a success only where all that trains is finite and had a gradient."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from tests.training.toys import Task, Watcher, in_threads, new_ranks, new_trainer
from vlbench.errors import RunFailed
from vlbench.techniques.adapt import trained_parameters
from vlbench.training.train import Step, Trainer

ONE = (Task("one", 6, 3),)
COUNTS = pytest.mark.parametrize("count", [1, 2])


def trainers(count: int, **given: Any) -> list[Trainer]:
    if count == 1:
        return [new_trainer(**{"tasks": ONE, **given})]
    return [new_trainer(**{"tasks": ONE, "ranks": ranks, **given}) for ranks in new_ranks(count)]


def train(together: list[Trainer], watcher: Watcher | None = None) -> None:
    in_threads([partial(trainer.train, watcher or Watcher()) for trainer in together])


@COUNTS
def test_weights_that_overflow_in_the_last_step_are_named(count: int) -> None:
    given: dict[str, Any] = {"tasks": (Task("one", 3, 3),), "epochs": 1}
    with pytest.raises(RunFailed, match=r"Not finite after step 1: tensor 'backbone\.visual\..*"):
        train(trainers(count, learning_rate=1e38, **given))


@COUNTS
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_named_with_its_step(count: int, value: float) -> None:
    together = trainers(count)

    def spoil(trainer: Trainer) -> None:
        name, p = list(trained_parameters(trainer.bare).items())[-1]
        if trainer.ranks.is_main:
            p.register_hook(lambda gradient: gradient + value)
        names.append(name)

    names: list[str] = []
    for trainer in together:
        spoil(trainer)
    message = rf"gradient norm (nan|inf) at step 1 \(task one\)\. Not finite: tensor '{names[0]}'\."
    with pytest.raises(RunFailed, match=message):
        train(together)
    assert all(torch.isfinite(p).all() for p in trained_parameters(together[0].bare).values())


def test_features_that_are_not_finite_are_told_and_not_the_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = Task.batch

    def batch(self: Task, places: list[int], scores: list[float]) -> Any:
        made = whole(self, places, scores)
        for row, place in enumerate(places):
            if place == 4:
                made.features[row, 0, 3, 5] = float("nan")
        return made

    monkeypatch.setattr(Task, "batch", batch)
    with pytest.raises(RunFailed, match=r"Loss nan.*The features of one-4 are not finite") as e:
        train(trainers(1))
    assert "lower rate" not in str(e.value)


def test_finite_weights_that_give_logits_which_are_not_finite_fail() -> None:
    (trainer,) = trainers(1)

    def spoil(step: Step) -> None:
        if step.number == step.total:
            with torch.no_grad():
                for p in trained_parameters(trainer.bare).values():
                    p.fill_(3e38)

    with pytest.raises(RunFailed, match="Not finite after step 4: tensor 'logits of one'"):
        trainer.train(Watcher(spoil))
