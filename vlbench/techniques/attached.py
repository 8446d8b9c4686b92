"""What an attached technique does to one made-up example: whether all of it is on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vlbench.errors import UsageError
from vlbench.techniques.freezing import trained_parameters
from vlbench.tensors import listed

if TYPE_CHECKING:
    from vlbench.backbones.base import Backbone
    from vlbench.techniques.adapt import AdaptedModel

NEAR = 1e-3
"""Logits are equal up to this part of the largest: layers that were replaced round otherwise."""


def probe(model: nn.Module, backbone: Backbone, task: str) -> Tensor:
    """Logits (1, 2, V) of a made-up example of `task`, in evaluation; on the meta device too."""
    device = backbone.table.device
    ids = torch.full((1, 2), backbone.config.eos_token_id, device=device)
    shape = (1, 1, backbone.visual_tokens, backbone.visual.feature_width)
    features = torch.zeros(shape, device=device)
    batch = SimpleNamespace(task=task, input_ids=ids, features=features, target_ids=ids)
    was_training = model.training
    model.eval()
    try:
        with _Assuming() if ids.is_meta else nullcontext(), torch.random.fork_rng(devices=[]):
            logits: Tensor = model(batch)
    finally:
        model.train(was_training)
    return logits


def changes(backbone: Backbone, task: str, attach: Callable[[], None]) -> bool:
    """Attach a technique; whether the backbone answers otherwise. Not known on the meta device."""
    if backbone.table.is_meta:
        attach()
        return False
    with torch.no_grad():
        before = probe(backbone, backbone, task)
        attach()
        difference = (probe(backbone, backbone, task) - before).abs().max()
        return not bool(difference <= NEAR * before.abs().max())


def check_reached(model: AdaptedModel, tasks: Sequence[str], shown: str) -> None:
    """UsageError where no task's logits, nor the penalty, depend on a tensor that trains.

    `shown` names the card. On the meta device what cannot be computed without numbers is let pass:
    a run looks again before it trains.
    """
    unreached = {p: name for name, p in trained_parameters(model).items()}
    try:
        leaves = _leaves(model.technique.penalty())
        for task in tasks:
            leaves |= _leaves(probe(model, model.backbone, task))
            if unreached.keys() <= leaves:
                return
    except Exception:
        if model.backbone.table.is_meta:
            return
        raise
    names = [name for p, name in unreached.items() if p not in leaves]
    raise UsageError(
        f"{shown}: trained but never reached: {listed(names)}. No output depends on it: attach it "
        "where the forward pass goes through, or leave it out of what trains."
    )


def _leaves(output: Tensor | None) -> set[Any]:
    """The tensors that a gradient of `output` would reach."""
    todo: list[Any] = [None if output is None else output.grad_fn]
    nodes: set[Any] = set()
    while todo:
        node = todo.pop()
        if node is not None and node not in nodes:
            nodes.add(node)
            todo += [before for before, _ in node.next_functions]
    return {node.variable for node in nodes if hasattr(node, "variable")}


class _Assuming(TorchFunctionMode):
    """On the meta device there are no values to ask for: whether a mask is all True, it is."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return True if func is Tensor.__bool__ else func(*args, **(kwargs or {}))
