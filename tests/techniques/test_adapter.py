from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.nn import functional

from vlbench.backbones.sites import SUBLAYERS
from vlbench.errors import CardError, UsageError
from vlbench.techniques.adapt import trained_parameters


def test_an_adapter_is_the_papers_formula(toy: Any) -> None:
    model = toy(technique="adapter")
    bottleneck = model.technique.sites["encoder_0_feed_forward"]
    down, up = bottleneck.down.layers["all"], bottleneck.up.layers["all"]
    u = torch.randn(2, 3, 32)
    low = functional.linear(u, down.weight, down.bias)
    low = 0.5 * low * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (low + 0.044715 * low**3)))
    expected = u + functional.linear(low, up.weight, up.bias)
    torch.testing.assert_close(bottleneck(u, "one"), expected)


def test_adapters_start_near_the_identity(toy: Any) -> None:
    model = toy(technique="adapter")
    for name, parameter in model.technique.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        else:
            assert 0.015 < parameter.std() < 0.025


def test_every_sublayer_has_one(toy: Any) -> None:
    model = toy(technique="adapter")
    names = [site.name for site in model.backbone.sites() if site.kind in SUBLAYERS]
    assert list(model.technique.sites) == names
    assert len(names) == 2 + 3


@pytest.mark.parametrize(
    ("sharing", "downs", "ups"),
    [
        ("task", ["one", "two"], ["one", "two"]),
        ("all", ["all"], ["all"]),
        ("up", ["one", "two"], ["all"]),
        ("down", ["all"], ["one", "two"]),
    ],
)
def test_sharing_decides_which_halves_a_task_owns(
    toy: Any, toy_batch: Any, sharing: str, downs: list[str], ups: list[str]
) -> None:
    model = toy(technique="adapter", sharing=sharing)
    bottleneck = model.technique.sites["decoder_0_cross_attention"]
    assert list(bottleneck.down.layers) == downs
    assert list(bottleneck.up.layers) == ups
    model(toy_batch).sum().backward()
    for name, parameter in model.technique.named_parameters():
        has_gradient = parameter.grad is not None
        assert has_gradient == (".layers.two." not in name), name


def test_the_task_of_the_batch_chooses_the_weights(toy: Any, toy_batch: Any) -> None:
    model = toy(technique="adapter", sharing="task")
    first = model(toy_batch)
    toy_batch.task = "two"
    assert not torch.equal(model(toy_batch), first)
    toy_batch.task = "three"
    with pytest.raises(UsageError, match="No weights for task 'three'"):
        model(toy_batch)


def test_norms_train_when_the_card_says_so(toy: Any) -> None:
    with_norms, without = (
        toy(technique="adapter", train={"norms": norms}) for norms in (True, False)
    )
    assert all(p.requires_grad for norm in with_norms.backbone.norms() for p in norm.parameters())
    assert not any(p.requires_grad for norm in without.backbone.norms() for p in norm.parameters())
    assert all(p.requires_grad for p in without.backbone.visual.parameters())
    assert not without.backbone.token_embedding.requires_grad


def test_a_width_that_does_not_divide_is_rounded_down(toy: Any, toy_batch: Any) -> None:
    model = toy(technique="adapter", params={"reduction": 5})
    shapes = {p.shape for p in model.technique.parameters()}
    assert shapes == {(6, 32), (6,), (32, 6), (32,)}
    assert model(toy_batch).isfinite().all()


def test_a_width_of_nothing_is_refused(toy: Any) -> None:
    with pytest.raises(UsageError, match=r"params\.reduction=33 leaves nothing of"):
        toy(technique="adapter", params={"reduction": 33})


def test_a_faulty_parameter_is_named_with_the_nearest(toy: Any) -> None:
    with pytest.raises(CardError, match=r"params\.reductoin.*Did you mean 'reduction'"):
        toy(technique="adapter", params={"reductoin": 8})


def test_a_copy_of_the_model_has_its_own_weights_and_tasks(toy: Any, toy_batch: Any) -> None:
    model = toy(technique="adapter", sharing="task")
    twin = copy.deepcopy(model)
    before = model(toy_batch)
    for parameter in trained_parameters(twin).values():
        parameter.data.zero_()
    assert torch.equal(model(toy_batch), before)
    assert not torch.equal(twin(toy_batch), before)
