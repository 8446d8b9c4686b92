from __future__ import annotations

from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.techniques.models import EACH, IMAGE_TASKS, Flow, adapted, gelu, stirred
from tests.techniques.toys import toy_backbone, toy_batch
from vlbench.backbones.base import Site
from vlbench.errors import UsageError
from vlbench.techniques.adapt import AdaptedModel, trained_parameters

GATES = {"small": 0.5, "middle-x": 0.5, "middle-y": 1.0, "large": 0.5}
"""Granularity -> what its gate is at the start."""
EVERY = pytest.mark.parametrize("granularity", GATES)
WIDTH, LAYERS = 32, 2
PARAMS: dict[str, Any] = {"width": 8, "gate_width": 4, "value_width": 6}


def vl_pet(kind: str, granularity: str = "large", **params: Any) -> AdaptedModel:
    params = {**PARAMS, "granularity": granularity, **params}
    return adapted(kind, IMAGE_TASKS, technique="vl_pet", params=params)


def linear(layer: Any, x: Tensor) -> Tensor:
    return x @ layer.weight.T + layer.bias


def bottleneck(module: Any, u: Tensor) -> Tensor:
    return linear(module.up, gelu(linear(module.down, u)))


def gate(module: Any, granularity: str, x: Tensor, y: Tensor) -> Tensor:
    """G as the paper writes it."""
    if granularity == "large":
        return torch.sigmoid(bottleneck(module, x))
    if granularity == "middle-x":
        return torch.sigmoid(linear(module.of_sum, x + y))
    if granularity == "middle-y":
        return 1 + module.g.expand_as(x)
    tokens = [
        torch.sigmoid(linear(module.of_both, torch.cat(both, -1)))
        for both in zip(x, y, strict=True)
    ]
    return torch.stack([token.mean() for token in tokens])[:, None, None]


def sites_of(model: AdaptedModel) -> tuple[list[Site], list[Site]]:
    """Sub-layers of the encoder, values of the cross-attention."""
    sites, kinds = model.backbone.sites(), ("self_attention", "feed_forward")
    encoder = [s for s in sites if s.side == "encoder" and s.kind in kinds]
    return encoder, [s for s in sites if s.kind == "value" and s.sublayer == "cross_attention"]


@EACH
@EVERY
@torch.no_grad()
def test_outputs_are_gated_and_values_changed_as_the_paper_says(
    kind: str, granularity: str
) -> None:
    model = stirred(vl_pet(kind, granularity, scale=0.3))
    (encoder, values), modules = sites_of(model), model.technique.sites
    assert list(modules) == [site.name for site in encoder + values]
    assert model.technique.claims(model.backbone) == encoder + values
    flow = Flow(model.backbone.sites()[1:])
    model(toy_batch())
    for site in model.backbone.sites()[1:]:
        x, before, after = (part[site.name] for part in (flow.entered, flow.before, flow.after))
        expected = before
        if site in encoder:
            module: Any = modules[site.name]
            y = before + bottleneck(module.bottleneck, before)
            expected = 0.3 * gate(module.gate, granularity, x, y) * y
            assert x.shape == (2, 5 + 4, WIDTH)  # text with its padding, then the picture
        elif site in values:
            module = modules[site.name]
            expected = before + bottleneck(module.bottleneck, x)
        torch.testing.assert_close(after, expected)
        assert torch.equal(after, before) != (site in encoder + values)


@EACH
@pytest.mark.parametrize("norms", [True, False])
def test_the_encoders_norms_train_where_the_card_says_so_and_the_decoders_never(
    kind: str, norms: bool
) -> None:
    model = adapted(kind, technique="vl_pet", params=PARAMS, train={"norms": norms})
    expected = set(model.technique.parameters()) | set(model.backbone.visual.parameters())
    if norms:
        expected |= {p for norm in model.backbone.norms("encoder") for p in norm.parameters()}
    assert set(trained_parameters(model).values()) == expected
    decoder = [p for norm in model.backbone.norms("decoder") for p in norm.parameters()]
    assert decoder and not expected & set(decoder)


@EVERY
@torch.no_grad()
def test_on_t5_last_layers_start_at_zero_and_leave_a_share_of_the_outputs(granularity: str) -> None:
    model = vl_pet("t5", granularity, scale=0.3, zero_initialised=True)
    gains = [p for name, p in model.technique.named_parameters() if name.endswith(".g")]
    assert len(gains) == (2 * LAYERS if granularity == "middle-y" else 0)
    assert not gains or 0.015 < torch.cat(gains).std() < 0.025
    for name, parameter in model.technique.named_parameters():
        layer = name.split(".")[-2]
        assert parameter.any() != (layer in ("up", "of_sum", "of_both")), name
        if layer == "down":  # as torch makes it
            bound = 1 / sqrt(WIDTH)
            assert parameter.abs().max() <= bound
            assert parameter.numel() < 100 or parameter.abs().max() > 0.9 * bound
    encoder, values = sites_of(model)
    flow = Flow(encoder + values)
    model(toy_batch())
    for site in encoder + values:
        share = 0.3 * GATES[granularity] if site in encoder else 1
        loose = 0.1 if granularity == "middle-y" else 1e-6
        before, after = flow.before[site.name], flow.after[site.name]
        torch.testing.assert_close(after, share * before, atol=1e-6, rtol=loose)


@pytest.mark.parametrize("meta", [True, False])
def test_pieces_of_down_must_be_equal(meta: bool) -> None:
    from vlbench.cards import load_method
    from vlbench.techniques import resolve_method
    from vlbench.techniques.adapt import adapt

    settings = ["params.width=10"]
    card = resolve_method(load_method("vl-pet-large"), "mini-bart", "image-text", settings)
    with pytest.raises(UsageError, match=r"params\.heads=4 does not divide params\.width=10"):
        adapt(toy_backbone("bart", meta=meta), card, IMAGE_TASKS)
