"""Several processes train as one: the same batches, losses and steps."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch

from tests.training.toys import Task, Watcher, in_threads, new_ranks, new_trainer
from vlbench.errors import RunFailed
from vlbench.techniques.adapt import trained_parameters, trained_state
from vlbench.training.distributed import seed_step
from vlbench.training.train import Step, Trainer, task_order

LOSSES, WEIGHTS = 2e-6, 1e-5
"""How far ranks may be from one process: measured are 7e-7, of losses of about 5, and 1e-6."""
ODD = (
    Task("one", 7, 3),  # shares of 2 and 1, and a last batch of one example
    Task("two", 5, 2, "per-token"),
    Task("three", 4, 4, "per-example"),
)


def trainers(count: int, **settings: Any) -> list[Trainer]:
    """One for each rank, all on the same model."""
    given = {"tasks": ODD, "dropout": 0.0, **settings}
    if count == 1:
        return [new_trainer(**given)]
    return [new_trainer(ranks=ranks, **given) for ranks in new_ranks(count)]


def train(trainers: list[Trainer]) -> list[Watcher]:
    watchers = [Watcher() for _ in trainers]
    acts = [partial(t.train, w) for t, w in zip(trainers, watchers, strict=True)]
    in_threads(acts)
    return watchers


def assert_same(one: Trainer, other: Trainer, tolerance: float) -> None:
    expected = trained_state(other.bare)
    for name, tensor in trained_state(one.bare).items():
        torch.testing.assert_close(tensor, expected[name], atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    ("method", "count"),
    [("adapter", 2), ("shared-adapter", 3), ("compacter", 2), ("peft-adalora", 2)],
)
def test_ranks_give_the_losses_and_weights_of_one_process(method: str, count: int) -> None:
    (alone,), together = trainers(1, method=method), trainers(count, method=method)
    (expected,) = train([alone])
    for trainer, seen in zip(together, train(together), strict=True):
        assert seen.losses == pytest.approx(expected.losses, abs=LOSSES, rel=0)
        assert trainer.examples == alone.examples
        assert_same(trainer, alone, WEIGHTS)
        assert_same(trainer, together[0], 0)


def test_a_step_counts_for_the_decay_of_what_it_used_alone() -> None:
    """As in one process: the adapters of another task do not move, whatever rank has no share."""
    settings: dict[str, Any] = {
        "method": "adapter",
        "tasks": (Task("one", 1, 3), Task("two", 1, 1)),
    }
    together = trainers(2, epochs=1, **settings)

    class Looker(Watcher):
        def on_step(self, step: Step) -> None:
            counts.append({name: optimiser.state[p].get("step", 0) for name, p in trained.items()})

    counts: list[dict[str, int]] = []
    optimiser, trained = together[1].optimiser, trained_parameters(together[1].bare)
    acts = [partial(together[0].train, Watcher()), partial(together[1].train, Looker())]
    in_threads(acts)
    second = task_order({"one": 1, "two": 1}, 0)[1]
    own = {name: counts[0][name] for name in counts[0] if f".{second}." in name}
    assert own
    assert set(own.values()) == {0}


def test_ranks_that_do_not_start_from_the_same_weights_are_refused() -> None:
    together = trainers(2)
    with torch.no_grad():
        next(p for p in together[1].bare.parameters() if p.requires_grad).add_(1)
    with pytest.raises(RunFailed, match="differ between the processes after step 0"):
        train(together)


def test_an_initialisation_that_differs_between_ranks_becomes_the_main_ones() -> None:
    together = trainers(2)
    first, second = (next(iter(trained_state(t.bare).values())) for t in together)
    with torch.no_grad():
        second.add_(1)
    in_threads([partial(trainer.start, print) for trainer in together])
    assert torch.equal(first, second)
    train(together)


@pytest.mark.parametrize("counts", [(2, 1), (1, 2), (2, 2)])
def test_a_state_of_some_ranks_goes_on_in_others(counts: tuple[int, int]) -> None:
    (alone,) = trainers(1)
    train([alone])
    before, after = trainers(counts[0]), trainers(counts[1])
    state = {}

    class Keeper(Watcher):
        def on_step(self, step: Step) -> None:
            if step.number == 4:
                state.update(copy.deepcopy(before[0].state_dict()))

    in_threads([partial(t.train, Keeper() if t is before[0] else Watcher()) for t in before])
    for trainer in after:
        trainer.load_state_dict(copy.deepcopy(state), "state")
    watchers = train(after)
    assert [step.number for step in watchers[0].steps] == list(range(5, alone.total_steps + 1))
    assert_same(after[0], alone, WEIGHTS)


def test_a_loss_that_is_not_finite_is_told_by_all() -> None:
    together = trainers(2, tasks=(Task("one", 12, 12),))
    for trainer in together:
        with torch.no_grad():
            next(p for p in trainer.bare.parameters() if p.requires_grad).fill_(float("nan"))
    with pytest.raises(
        RunFailed, match=r"Loss nan, .* at step 1 \(task one\)\. Not finite: tensor"
    ):
        train(together)


def test_every_rank_and_step_has_a_random_stream_of_its_own() -> None:
    def draw(rank: int, step: int) -> float:
        seed_step(7, rank, step)
        return torch.rand(()).item()

    drawn = [draw(rank, step) for rank in (1, 2) for step in (1, 2)]
    assert len(set(drawn)) == 4
    assert [draw(rank, step) for rank in (1, 2) for step in (1, 2)] == drawn
