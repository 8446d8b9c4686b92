"""Training on a GPU: the CPU's losses, bf16, a state to go on from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.runs.builders import forget_devices
from tests.training.toys import Watcher, new_trainer
from vlbench.cards.load import own_cards
from vlbench.techniques.adapt import trained_parameters
from vlbench.training.train import Step, Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("default"),  # what a driver or a card is warned of is not ours
]
every_method = pytest.mark.parametrize("method", own_cards("methods"))


def trained(
    method: str, device: str, act: Callable[[Trainer, Step], None] = lambda *_: None, **more: Any
) -> Watcher:
    """Four steps without dropout, as its generator on a GPU is another one."""
    forget_devices()
    trainer = new_trainer(method, device=device, epochs=1, dropout=0.0, learning_rate=1e-3, **more)
    for module in trainer.bare.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    watcher = Watcher(lambda step: act(trainer, step))
    trainer.train(watcher)
    assert trainer.accelerator.device.type == device
    return watcher


@every_method
def test_losses_are_the_cpus_and_in_bf16_near_them(method: str, device: torch.device) -> None:
    def look(trainer: Trainer, step: Step) -> None:
        params = trained_parameters(trainer.bare).values()
        assert {(p.dtype, p.device.type) for p in params} == {(torch.float32, device.type)}
        assert all(bool(p.isfinite().all()) for p in params)

    expected = trained(method, "cpu").losses
    assert trained(method, device.type).losses == pytest.approx(expected, rel=1e-3)
    found = trained(method, device.type, look, precision="bf16").losses
    assert found == pytest.approx(expected, rel=0.05)
    assert found != expected


@pytest.mark.parametrize("optimiser", ["authors-adamw", "adamw"])
@pytest.mark.parametrize("method", ["shared-adapter", "hyperformer", "lst", "peft-adalora"])
def test_training_goes_on_from_a_state_as_it_would_have(
    method: str, optimiser: str, device: torch.device, tmp_path: Path
) -> None:
    """Dropout, too: only a GPU's generator that goes on from where it was gives these losses."""

    def keep(step: Step) -> None:
        if step.number == 3:
            torch.save(whole.state_dict(), tmp_path / "3.pt")

    whole = new_trainer(method, device=device.type, dropout=0.3, optimiser=optimiser)
    watcher, rest = Watcher(keep), Watcher()
    whole.train(watcher)
    resumed = new_trainer(method, device=device.type, dropout=0.3, optimiser=optimiser)
    torch.manual_seed(99)
    state = torch.load(tmp_path / "3.pt", map_location="cpu", weights_only=True)  # as Checkpoints
    resumed.load_state_dict(state, "3.pt")
    moments = [x for p in resumed.optimiser.state.values() for x in p.values()]
    places = {x.device.type for x in moments if isinstance(x, torch.Tensor)}
    assert places == {device.type}
    resumed.train(rest)
    assert rest.losses == pytest.approx(watcher.losses[3:], rel=1e-3)  # sums may differ in bits
