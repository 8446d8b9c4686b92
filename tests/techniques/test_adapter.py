"""Adapters, low-rank adapters and Compacter: one bottleneck, three kinds of linear layers."""

from __future__ import annotations

from functools import partial
from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.techniques.models import (
    EACH,
    Flow,
    adapted,
    all_of,
    gelu,
    is_normal,
    is_uniform,
    stirred,
)
from tests.techniques.toys import TASKS, toy_batch
from vlbench.backbones.base import SUBLAYERS
from vlbench.errors import CardError, UsageError
from vlbench.techniques.adapter import KroneckerLinear
from vlbench.training.optimiser import AdamW, parameter_groups

WIDTH, LOW = 32, 4
BOTTLENECKS = ["adapter", "low_rank_adapter", "compacter"]


def matrix(layer: Any) -> Tensor:
    """The layer's matrix (in, out) as the papers write it, product by product."""
    if hasattr(layer, "weight"):
        return layer.weight.T
    if not hasattr(layer, "rule"):
        return layer.left @ layer.right
    if layer.is_factorized:
        weights = [left @ right for left, right in zip(layer.left, layer.right, strict=True)]
    else:
        weights = layer.w
    return sum(torch.kron(a, w) for a, w in zip(layer.rule, weights, strict=True))


def bias(layer: Any) -> Tensor:
    return layer.bias if hasattr(layer, "bias") else layer.b


@EACH
@pytest.mark.parametrize(
    ("technique", "params"),
    [
        ("adapter", {}),
        ("low_rank_adapter", {"rank": 1}),
        ("low_rank_adapter", {"rank": 3}),
        ("compacter", {"division": 1, "factorized": True, "rank": 2}),
        ("compacter", {"division": 2}),
        ("compacter", {"division": 4, "shared_rule": True}),
    ],
)
def test_every_sublayer_gets_the_formula(kind: str, technique: str, params: Any) -> None:
    model = stirred(adapted(kind, technique=technique, params=params))
    sites = [site for site in model.backbone.sites() if site.kind in SUBLAYERS]
    assert list(model.technique.sites) == [site.name for site in sites]
    flow = Flow(sites)
    model(toy_batch())
    for site in sites:
        bottleneck: Any = model.technique.sites[site.name]
        down, up = bottleneck.down.layers["all"], bottleneck.up.layers["all"]
        assert matrix(down).shape == (WIDTH, LOW)
        u = flow.before[site.name]
        low = gelu(u @ matrix(down) + bias(down))
        expected = u + low @ matrix(up) + bias(up)
        torch.testing.assert_close(flow.after[site.name], expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("technique", [*BOTTLENECKS, "lora"])
@pytest.mark.parametrize("sharing", ["task", "all", "up", "down"])
def test_sharing_decides_which_halves_a_task_owns(technique: str, sharing: str) -> None:
    model = stirred(adapted("bart", technique=technique, sharing=sharing))
    end = "_value" if technique == "lora" else ""
    bottleneck: Any = model.technique.sites[f"decoder_0_cross_attention{end}"]
    own, shared = list(TASKS), ["all"]
    assert list(bottleneck.down.layers) == (own if sharing in ("task", "up") else shared)
    assert list(bottleneck.up.layers) == (own if sharing in ("task", "down") else shared)
    first = model(toy_batch())
    first.sum().backward()
    for name, parameter in model.technique.named_parameters():
        assert (parameter.grad is not None) == (".layers.two." not in name), name
    assert torch.equal(model(toy_batch("two")), first) == (sharing == "all")
    if sharing != "all":
        with pytest.raises(UsageError, match="No weights for task 'three'"):
            model(toy_batch("three"))


@pytest.mark.parametrize("technique", BOTTLENECKS)
def test_a_width_that_does_not_divide_is_rounded_down(technique: str) -> None:
    model = adapted("bart", technique=technique, params={"reduction": 5})
    shapes = {p.shape for p in model.technique.parameters() if p.dim() == 1}
    assert shapes == {(6,), (32,)}
    assert model(toy_batch()).isfinite().all()


@pytest.mark.parametrize(
    ("technique", "params", "text"),
    [
        ("adapter", {"reduction": 33}, r"params\.reduction=33 leaves nothing of"),
        ("hyperformer", {"reduction": 33}, r"params\.reduction=33 leaves nothing of"),
        ("compacter", {"division": 3}, r"params\.division=3 does not divide"),
        ("compacter", {"reduction": 16, "division": 4}, r"params\.division=4 does not divide"),
        ("adapter", {"reductoin": 8}, r"params\.reductoin.*Did you mean 'reduction'"),
    ],
)
def test_what_fits_no_width_is_refused(technique: str, params: Any, text: str) -> None:
    with pytest.raises((UsageError, CardError), match=text):
        adapted("bart", technique=technique, params=params)


@pytest.mark.parametrize("sharing", ["task", "all"])
def test_adapters_start_near_the_identity_on_bart_and_far_from_it_on_t5(sharing: str) -> None:
    models = [
        adapted(kind, technique="adapter", sharing=sharing, params={"reduction": 2})
        for kind in ("bart", "t5")
    ]
    bart, t5 = (dict(model.technique.named_parameters()) for model in models)
    assert is_normal(all_of(bart, "weight"), 0.1)  # the toy's init_std
    assert not all_of(bart, "bias").any()
    for half, bound in ((".down.", 1 / sqrt(WIDTH)), (".up.", 1 / sqrt(WIDTH // 2))):
        own = {name: t for name, t in t5.items() if half in name}
        assert is_uniform(all_of(own, "weight"), bound)
        assert 0.8 * bound < all_of(own, "bias").abs().max() <= bound


@EACH
def test_low_rank_and_kronecker_factors_start_xavier_uniform_on_every_backbone(kind: str) -> None:
    model = adapted(kind, technique="low_rank_adapter", params={"reduction": 1, "rank": 32})
    tensors = dict(model.technique.named_parameters())
    factors = torch.cat([all_of(tensors, ".left"), all_of(tensors, ".right")])
    assert is_uniform(factors, sqrt(2 * 6 / (32 + 32)))
    assert not all_of(tensors, ".b").any()
    model = adapted(kind, technique="compacter", params={"init_range": 0.5, "reduction": 1})
    tensors = dict(model.technique.named_parameters())
    assert is_uniform(all_of(tensors, ".w"), sqrt(2 * 6 / (16 + 16)))
    assert is_normal(all_of(tensors, ".rule"), 0.5)
    assert not all_of(tensors, ".b").any()


def test_b_decays_as_in_the_reference() -> None:
    for technique in ("low_rank_adapter", "compacter"):
        model = adapted("bart", technique=technique)
        decayed = parameter_groups(model, 0.01, model.undecayed())[0]["params"]
        assert set(model.technique.parameters()) <= set(decayed)


def test_matrices_are_built_once_while_answering_and_not_kept_afterwards() -> None:
    model, batch = adapted("bart", technique="compacter", sharing="task"), toy_batch()
    layers = [m for m in model.modules() if isinstance(m, KroneckerLinear)]
    calls: list[int] = []

    def counted(build: Any) -> Tensor:
        calls.append(1)
        return build()

    for layer in layers:
        layer.matrix = partial(counted, layer.matrix)
    for _ in range(2):
        with torch.inference_mode():
            expected = model(batch)
        calls.clear()
        with torch.no_grad(), model.answering(batch.task):
            assert torch.equal(model(batch), expected)
            assert torch.equal(model(batch), expected)
            assert len(calls) == len(layers) / 2  # the other task's are not built
        assert all(layer.folded is None for layer in layers)
        model(batch).square().mean().backward()
        AdamW(parameter_groups(model, 0.01), lr=0.1).step()
