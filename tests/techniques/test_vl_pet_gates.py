"""How VL-PET's modules start, and what its gates read."""

from __future__ import annotations

from math import sqrt
from typing import Any

import pytest
import torch
from torch.nn import functional

from tests.techniques.models import Flow, adapted, stirred
from tests.techniques.toys import toy_batch
from vlbench.techniques.adapt import AdaptedModel

EVERY = pytest.mark.parametrize("granularity", ["small", "middle-x", "middle-y", "large"])
WIDTH, LAYERS = 32, 2


def vl_pet(kind: str, granularity: str, **params: Any) -> AdaptedModel:
    params = {"width": 8, "gate_width": 4, "value_width": 6, "granularity": granularity, **params}
    return adapted(kind, technique="vl_pet", params=params)


@torch.no_grad()
def test_a_small_gate_counts_padding_too() -> None:
    model = stirred(vl_pet("bart", "small"))
    module: Any = model.technique.sites["encoder_0_feed_forward"]
    x, h = torch.randn(2, 1, 5, WIDTH)
    longer = [functional.pad(each, (0, 0, 0, 3)) for each in (x, h)]
    assert not torch.allclose(module(x, h), module(*longer)[:, :5], atol=1e-3)


@EVERY
def test_on_bart_layers_start_as_its_own(granularity: str) -> None:
    model = vl_pet("bart", granularity, width=32, gate_width=32, value_width=32)
    std = model.backbone.config.init_std
    for name, parameter in model.technique.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif parameter.numel() > 500:
            assert 0.9 * std < parameter.std() < 1.1 * std, name


@EVERY
def test_on_t5_layers_start_as_torch_makes_them_and_last_layers_at_zero(granularity: str) -> None:
    model = vl_pet("t5", granularity, zero_initialised=True)
    last = ("up", "of_sum", "of_both")
    for name, parameter in model.technique.named_parameters():
        layer = name.split(".")[-2]
        assert parameter.any() != (layer in last), name
        if layer == "down":
            bound = 1 / sqrt(WIDTH)
            assert parameter.abs().max() <= bound
            assert parameter.numel() < 100 or parameter.abs().max() > 0.9 * bound


@pytest.mark.parametrize("kind", ["bart", "t5"])
@pytest.mark.parametrize("is_zero", [True, False])
def test_the_gate_per_channel_starts_near_one(kind: str, is_zero: bool) -> None:
    model = vl_pet(kind, "middle-y", zero_initialised=is_zero)
    found = [p for name, p in model.technique.named_parameters() if name.endswith(".g")]
    assert len(found) == 2 * LAYERS
    assert 0.015 < torch.cat(found).std() < 0.025


@pytest.mark.parametrize(
    ("granularity", "share"),
    [("small", 0.5), ("middle-x", 0.5), ("middle-y", 1.0), ("large", 0.5)],
)
@torch.no_grad()
def test_zero_last_layers_leave_that_share_of_the_frozen_outputs(
    granularity: str, share: float
) -> None:
    model = vl_pet("t5", granularity, scale=0.3, zero_initialised=True)
    sites = [site for site in model.backbone.sites() if site.name in model.technique.sites]
    flow = Flow(sites)
    model(toy_batch())
    loose = 0.1 if granularity == "middle-y" else 1e-6
    for site in sites:
        before, after = flow.before[site.name], flow.after[site.name]
        if site.side == "decoder":
            assert torch.equal(after, before)
        else:
            torch.testing.assert_close(after, 0.3 * share * before, atol=1e-6, rtol=loose)
