"""Frozen weights that are cast once give the numbers of those that autocast casts at every step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.techniques.models import adapted, stirred
from tests.techniques.test_shared_inputs import TABLES, batches, gradients
from vlbench.techniques.adapt import frozen_in_bf16


def frozen_linears(model: nn.Module) -> dict[str, nn.Linear]:
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not module.weight.requires_grad
    }


@pytest.mark.parametrize("kind", ["bart", "t5"])
@pytest.mark.parametrize("method", sorted(TABLES.keys() - {"full"}))
def test_loss_and_gradients_are_the_same_bits(kind: str, method: str) -> None:
    model = stirred(adapted(kind, **TABLES[method]))
    batch, _ = batches()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.autocast("cpu", torch.bfloat16):
        expected, expected_gradients = gradients(model, batch)
        with frozen_in_bf16(model):
            kinds = {module.weight.dtype for module in frozen_linears(model).values()}
            value, found = gradients(model, batch)
    assert torch.bfloat16 in kinds
    assert torch.equal(value, expected)
    assert any(gradient is not None for gradient in found.values())
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=0, atol=0, msg=name)
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == before[name].dtype and torch.equal(tensor, before[name]), name


def test_an_embedding_and_what_is_tied_to_it_stay() -> None:
    model = nn.ModuleDict(
        {"table": nn.Embedding(5, 4), "head": nn.Linear(4, 5), "own": nn.Linear(4, 5)}
    )
    model["head"].weight = model["table"].weight
    model.requires_grad_(False)
    with frozen_in_bf16(model):
        assert model["table"].weight.dtype == torch.float32
        assert model["own"].weight.dtype == torch.bfloat16
    assert model["own"].weight.dtype == torch.float32


def test_they_are_as_before_when_training_breaks_off() -> None:
    layer = nn.Linear(2, 2).requires_grad_(False)
    data = layer.weight.data
    with pytest.raises(KeyError), frozen_in_bf16(layer):
        raise KeyError
    assert layer.weight.data_ptr() == data.data_ptr()
