"""Activations computed twice instead of kept: the same gradients, dropout included."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.techniques.models import adapted, stirred
from tests.techniques.toys import toy_batch
from vlbench.errors import UsageError
from vlbench.techniques.adapt import AdaptedModel, trained_parameters
from vlbench.training.train import loss

TECHNIQUES: dict[str, dict[str, Any]] = {
    "full": {},
    "adapter": {},
    "compacter": {},
    "lora": {"params": {"rank": 4}},
    "prompt": {"params": {"length": 3, "hidden": 8}},
    "vl_pet": {"params": {"width": 4, "gate_width": 4, "value_width": 4}},
}


def step(model: AdaptedModel) -> tuple[torch.Tensor, dict[str, Any], int]:
    """Loss, gradients, and the bytes kept for the backward pass."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    batch = toy_batch()
    torch.manual_seed(3)
    model.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model.label_logits(batch)
        value = loss(logits, batch.target_ids, batch.scores, "per-example")
    size = sum(kept.values())
    value.backward()
    return value.detach(), {n: p.grad for n, p in trained_parameters(model).items()}, size


@pytest.mark.parametrize("kind", ["bart", "t5"])
@pytest.mark.parametrize("technique", TECHNIQUES)
def test_loss_and_gradients_are_the_same_with_less_kept(kind: str, technique: str) -> None:
    table = {"technique": technique, "train": {"dropout": 0.2}, **TECHNIQUES[technique]}
    model = stirred(adapted(kind, **table)).train()
    expected, gradients, size = step(model)
    model.checkpoint_activations()
    value, found, less = step(model)
    assert torch.equal(value, expected)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-7, rtol=1e-6, msg=name)
    assert less < 0.8 * size


@pytest.mark.parametrize(
    ("technique", "params"),
    [
        ("lst", {"initialisation": "random"}),
        ("hyperformer", {"task_dim": 8, "hidden": 8}),
        ("hyperformer+prompt", {"hyperformer": {"task_dim": 8, "hidden": 8}}),
    ],
)
def test_what_cannot_be_computed_twice_refuses(technique: str, params: dict[str, Any]) -> None:
    model = adapted("bart", technique=technique, params=params, train={"norms": False})
    with pytest.raises(UsageError, match="cannot be computed twice"):
        model.checkpoint_activations()
