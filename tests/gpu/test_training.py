"""Training on a GPU: the CPU's losses, bf16, a state to go on from, and memory that ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from tests.runs.builders import forget_devices
from tests.techniques.models import adapted
from tests.training.test_micro_batches import batch_of
from tests.training.toys import Task, Watcher, new_trainer
from vlbench.cards.load import own_cards
from vlbench.cards.schema import TrainSettings
from vlbench.techniques.adapt import AdaptedModel, trained_parameters
from vlbench.training.distributed import ALONE
from vlbench.training.train import MicroBatches, Step, Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("default"),  # what a driver or a card is warned of is not ours
]
NOTHING_CAST = ("full", "blind", "peft-adalora")
"""They train all linear layers, or wrap them."""
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
        linear = [m for m in trainer.bare.modules() if type(m) is nn.Linear]
        frozen = {m.weight.dtype for m in linear if not m.weight.requires_grad}
        assert torch.bfloat16 in frozen or method in NOTHING_CAST

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


@contextmanager
def memory_for(share: float, act: Callable[[], Any]) -> Iterator[None]:
    """This process gets so much of what `act` takes from the device, beyond what is held before."""
    act()  # libraries take their workspaces once
    torch.cuda.empty_cache()
    least = torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    act()
    taken = torch.cuda.max_memory_reserved() - least
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((least + share * taken) / whole)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.fixture
def model(device: torch.device) -> AdaptedModel:
    """On a device whose memory can end."""
    if device.type == "cpu":
        pytest.skip("not run: the CPU's memory is not to be taken")
    return adapted("bart", technique="adapter").to(device)


def test_where_memory_ends_parts_halve_and_the_gradient_stays(model: AdaptedModel) -> None:
    batch, accelerator, said = batch_of(8192), Accelerator(), list[str]()

    def gradient(parts: MicroBatches) -> tuple[float, dict[str, Any]]:
        model.zero_grad()
        tasks: Any = [Task(batch.task, loss="per-example")]
        trainer = Trainer(model, tasks, TrainSettings(), 0, accelerator, ALONE, parts)
        value, _ = trainer.gradient(batch)
        grads = {
            name: p.grad.cpu()
            for name, p in trained_parameters(model).items()
            if p.grad is not None
        }
        model.zero_grad()
        return value, grads

    expected = gradient(MicroBatches())
    with memory_for(0.5, lambda: gradient(MicroBatches())):
        with pytest.raises(torch.OutOfMemoryError):
            gradient(MicroBatches())
        model.zero_grad()
        value, found = gradient(MicroBatches("auto", said.append))
    assert said[0].startswith("out of memory with 8192 examples at once: going on with 4096")
    assert value == pytest.approx(expected[0], rel=1e-5)
    assert found.keys() == expected[1].keys()
    for name, each in expected[1].items():
        assert (found[name] - each).norm() <= 1e-3 * each.norm() + 1e-6, name
