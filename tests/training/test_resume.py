"""Training that goes on from a state taken after any step ends as if nothing had happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.toys import Task, Watcher, new_trainer
from vlbench.cards.load import own_cards
from vlbench.techniques.adapt import trained_state
from vlbench.training.train import Step, Trainer


def train(trainer: Trainer, folder: Path) -> Watcher:
    """To the end, with its state after each step in a file."""

    def keep(step: Step) -> None:
        assert trainer.steps_done == step.number
        torch.save(trainer.state_dict(), folder / f"{step.number}.pt")

    watcher = Watcher(keep)
    trainer.train(watcher)
    return watcher


def resume(trainer: Trainer, file: Path) -> Watcher:
    """To the end, from the file, with random streams that are somewhere else."""
    torch.manual_seed(99)
    trainer.load_state_dict(torch.load(file, weights_only=True), str(file))
    watcher = Watcher()
    trainer.train(watcher)
    return watcher


def flat(state: Any) -> list[Any]:
    """The tensors and values of a nested state, without what was measured."""
    if isinstance(state, dict):
        return [x for key, each in state.items() if key != "seconds" for x in flat(each)]
    if isinstance(state, list | tuple):
        return [x for each in state for x in flat(each)]
    return [state]


def assert_equal(one: Trainer, other: Trainer) -> None:
    pairs = list(zip(flat(one.state_dict()), flat(other.state_dict()), strict=True))
    assert len(pairs) > 20
    for a, b in pairs:
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("method", sorted(own_cards("methods").keys() - {"zero-shot"}))
def test_every_method_goes_on_in_the_middle_of_an_epoch(method: str, tmp_path: Path) -> None:
    tasks = (Task("one", 3, 2), Task("two", 2, 2))
    whole = new_trainer(method, tasks)
    watcher = train(whole, tmp_path)
    resumed = new_trainer(method, tasks)
    rest = resume(resumed, tmp_path / "4.pt")  # of 6
    assert rest.losses == watcher.losses[4:]
    assert_equal(resumed, whole)


def test_any_step_will_do_and_an_epoch_that_was_trained_is_told_again(tmp_path: Path) -> None:
    tasks = (Task("one", 7, 2), Task("two", 3, 2))
    whole = new_trainer(tasks=tasks)
    watcher = train(whole, tmp_path)
    assert whole.steps_per_epoch == 6
    for step in range(1, 13):
        resumed = new_trainer(tasks=tasks)
        rest = resume(resumed, tmp_path / f"{step}.pt")
        assert rest.losses == watcher.losses[step:]
        assert [each.task for each in rest.steps] == [each.task for each in watcher.steps[step:]]
        assert rest.epochs == [1, 2][(step - 1) // 6 :]
        assert resumed.examples == whole.examples
        assert_equal(resumed, whole)


def test_what_a_watcher_draws_at_an_epochs_end_changes_nothing() -> None:
    class Gambler(Watcher):
        def on_epoch(self, epoch: int) -> None:
            torch.rand(epoch)

    still, drawing = new_trainer(), new_trainer()
    torch.manual_seed(1)
    still.train(Watcher())
    torch.manual_seed(1)
    drawing.train(Gambler())
    one, other = trained_state(still.bare), trained_state(drawing.bare)
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
