"""Every card's model on a GPU: all of it is there, and it computes what the CPU does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.techniques.models import train
from tests.techniques.test_battery import ROWS, adapted
from tests.techniques.toys import on, toy_batch
from vlbench.techniques.adapt import (
    AdaptedModel,
    load_trained_state,
    trained_parameters,
    trained_state,
)
from vlbench.training.train import loss

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("default"),  # what a driver or a card is warned of is not ours
]
every_row = pytest.mark.parametrize("row", ROWS, ids="-".join)


def gradients(model: AdaptedModel, device: torch.device) -> tuple[float, dict[str, Tensor]]:
    """A batch's loss, penalty included, and its gradients, both computed there."""
    model.to(device).zero_grad()
    batch = on(device, toy_batch(images=2))
    value = loss(model.label_logits(batch), batch.target_ids, batch.scores, "per-example")
    penalty = model.technique.penalty()
    value = value if penalty is None else value + penalty
    value.backward()
    found = {
        name: p.grad.cpu() for name, p in trained_parameters(model).items() if p.grad is not None
    }
    return value.item(), found


@every_row
def test_loss_and_gradients_are_the_cpus(row: tuple[str, str], device: torch.device) -> None:
    model = adapted(row)
    train(model, 2)  # what starts at zero has moved
    model.eval()
    value, expected = gradients(model, torch.device("cpu"))
    there, found = gradients(model, device)
    assert there == pytest.approx(value, rel=1e-4)
    assert found.keys() == expected.keys() and found
    largest = max(gradient.norm().item() for gradient in expected.values())
    for name, gradient in expected.items():
        off = (found[name] - gradient).norm().item()
        assert off <= 1e-3 * gradient.norm().item() + 1e-5 * largest, name


def answers(model: AdaptedModel, device: torch.device) -> list[Any]:
    """Greedy, by beams and of choices, for one and for two pictures."""
    found: list[Any] = []
    with model.to(device).answering("one"):
        for images in (1, 2):
            batch = on(device, toy_batch(images=images))
            found += [model.generate(batch, beams, max_length=7) for beams in (1, 3)]
            found.append(model.choice_logits(batch, [5, 11, 40]).argmax(dim=-1).tolist())
    return found


@every_row
def test_an_adapter_of_the_cpu_answers_the_same_on_the_gpu_and_back(
    row: tuple[str, str], device: torch.device, tmp_path: Path
) -> None:
    cpu, file = torch.device("cpu"), tmp_path / "adapter.safetensors"
    for trained_on, scored_on in ((cpu, device), (device, cpu)):
        model, fresh = adapted(row).to(trained_on), adapted(row, seed=1).to(scored_on)
        train(model, 3)
        save_file({name: tensor.cpu() for name, tensor in trained_state(model).items()}, file)
        load_trained_state(fresh, load_file(file), str(file))
        assert answers(fresh, scored_on) == answers(model, trained_on)
