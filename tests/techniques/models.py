"""Toys with a technique on them, what flows through their sites, and counts at full size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.techniques.toys import TASKS, on, toy_backbone, toy_batch
from vlbench.backbones import Visual, build_backbone
from vlbench.backbones.sites import Site
from vlbench.cards.schema import MethodCard
from vlbench.checkpoints.authors import authors_names, spelt
from vlbench.techniques.adapt import AdaptedModel, adapt, count
from vlbench.training.optimiser import AdamW, parameter_groups
from vlbench.training.train import loss

IMAGE_TASKS = ("vqav2", "gqa", "nlvr2", "coco")


def card(**table: Any) -> MethodCard:
    return MethodCard(name="test", title="Test", **table)


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


def counts(backbone: str, visual: Visual = "image", **table: Any) -> tuple[int, int]:
    """Trainable and all parameters at full size, without any weights."""
    whole = build_backbone(backbone, meta=True, visual=visual)
    found = count(adapt(whole, card(**table), IMAGE_TASKS))
    return found.trainable, found.total


def theirs(kind: str, **table: Any) -> dict[str, tuple[str, ...]]:
    """Our name of each of the technique's tensors -> the authors' names, for VQA and GQA."""
    tasks = IMAGE_TASKS[:2]
    model = adapted(kind, tasks, **table)
    found = authors_names(model, spelt(tasks))
    return {n.ours[10:]: n.theirs for n in found if n.ours.startswith("technique.")}


@torch.no_grad()
def assert_steps_give_what_one_pass_gives(model: AdaptedModel) -> Any:
    """Decode token by token with caches, compare with the whole at once; the cache of the end."""
    hidden, mask = model.backbone.encode(toy_batch(images=2))
    ids = torch.tensor([[2, 40, 41, 42, 43], [2, 50, 51, 52, 53]])
    whole = model.backbone.decode(hidden, mask, ids)
    cache = None
    for i in range(ids.shape[1]):
        output = model.backbone.language(
            encoder_outputs=(hidden,),
            attention_mask=mask.long(),
            decoder_input_ids=ids[:, i : i + 1],
            past_key_values=cache,
            use_cache=True,
        )
        cache = output.past_key_values
        torch.testing.assert_close(output.logits[:, 0], whole[:, i], atol=1e-5, rtol=0)
    return cache
