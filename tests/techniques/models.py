"""Toys with a technique on them, what flows through their sites, and counts at full size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.techniques.toys import TASKS, on, toy_backbone, toy_batch
from vlbench.backbones.base import Site
from vlbench.cards.schema import MethodCard
from vlbench.techniques.adapt import AdaptedModel, adapt
from vlbench.training.optimiser import AdamW, parameter_groups
from vlbench.training.train import loss

IMAGE_TASKS = ("vqav2", "gqa", "nlvr2", "coco")
EACH = pytest.mark.parametrize("kind", ["bart", "t5"])


def card(**table: Any) -> MethodCard:
    return MethodCard(**{"name": "test", "title": "Test", **table})


def adapted(kind: str, tasks: tuple[str, ...] = TASKS, **table: Any) -> AdaptedModel:
    """A toy `bart` or `t5`, the same with every card, in evaluation."""
    backbone = toy_backbone(kind)
    torch.manual_seed(0)
    return adapt(backbone, card(**table), tasks).eval()


def stirred(model: AdaptedModel, scale: float = 0.3) -> AdaptedModel:
    """The model with noise on the technique's parameters, so that zeros do not hide anything."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.technique.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model


def train(model: AdaptedModel, steps: int, task: str = "one") -> list[float]:
    """The trainer's step, without its data; the loss of each."""
    batch = on(model.backbone.token_embedding.device, toy_batch(task))
    optimiser = AdamW(parameter_groups(model, 0.01, model.undecayed()), lr=1e-2)
    losses = []
    for number in range(1, steps + 1):
        value = loss(model(batch), batch.target_ids, batch.scores, "per-example")
        penalty = model.technique.penalty()
        (value if penalty is None else value + penalty).backward()
        optimiser.step()
        model.technique.stepped(number, steps)
        optimiser.zero_grad(set_to_none=True)
        losses.append(value.item())
    return losses


def gelu(x: Tensor) -> Tensor:
    """Its tanh form."""
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


class Flow:
    """What entered each site, and what left it before and after the technique changed it."""

    def __init__(self, sites: list[Site]) -> None:
        self.entered: dict[str, Tensor] = {}
        self.before: dict[str, Tensor] = {}
        self.after: dict[str, Tensor] = {}
        for site in sites:
            site.entry.register_forward_pre_hook(_keep(self.entered, site.name), with_kwargs=True)
            site.module.register_forward_hook(_keep(self.before, site.name), prepend=True)
            site.module.register_forward_hook(_keep(self.after, site.name))


def _keep(into: dict[str, Tensor], name: str) -> Any:
    def hook(module: Any, inputs: Any, output: Any) -> None:
        if isinstance(output, dict):  # a hook on what enters: these are its keywords
            output = inputs[0] if inputs else next(iter(output.values()))
        into[name] = output[0] if isinstance(output, tuple) else output

    return hook


def is_normal(tensor: Tensor, std: float) -> bool:
    return bool(abs(tensor.mean()) < std / 5 and 0.9 * std < tensor.std() < 1.1 * std)


def is_uniform(tensor: Tensor, bound: float) -> bool:
    spread, largest = bound / 3**0.5, tensor.abs().max()
    return bool(0.9 * bound < largest <= bound and 0.9 * spread < tensor.std() < 1.1 * spread)


def all_of(tensors: dict[str, Tensor], ending: str) -> Tensor:
    """All tensors whose name ends so, as one."""
    return torch.cat([t.flatten() for name, t in tensors.items() if name.endswith(ending)])
