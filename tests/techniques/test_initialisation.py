"""How new weights start: BART's model-wide pass, T5's torch defaults, and what both leave alone."""

from __future__ import annotations

from math import sqrt
from typing import Any

import pytest
import torch
from transformers import BartConfig, T5Config

from vlbench.backbones.bart import new_bart
from vlbench.backbones.base import Backbone
from vlbench.backbones.t5 import new_t5
from vlbench.cards.schema import MethodCard
from vlbench.techniques.adapt import adapt, trained_parameters

WIDTH = 128


def backbone(kind: str) -> Backbone:
    torch.manual_seed(0)
    if kind == "bart":
        config: Any = BartConfig(
            vocab_size=128,
            d_model=WIDTH,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=128,
            decoder_ffn_dim=128,
            max_position_embeddings=32,
        )
        return new_bart(config, 64, visual_tokens=4)
    config = T5Config(
        vocab_size=128, d_model=WIDTH, d_ff=128, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    return new_t5(config, 64, visual_tokens=4)


def trained(kind: str, **table: Any) -> dict[str, torch.Tensor]:
    """What the technique added, by name, without `technique.`."""
    card = MethodCard(name="test", title="Test", **table)
    model = adapt(backbone(kind), card, ("one", "two"))
    found = trained_parameters(model)
    return {n[10:]: p.detach() for n, p in found.items() if n.startswith("technique.")}


def is_normal(tensor: torch.Tensor, std: float) -> bool:
    return abs(tensor.mean()) < std / 5 and 0.9 * std < tensor.std() < 1.1 * std


def is_uniform(tensor: torch.Tensor, bound: float) -> bool:
    spread = bound / sqrt(3)
    return 0.9 * bound < tensor.abs().max() <= bound and 0.9 * spread < tensor.std() < 1.1 * spread


def all_of(found: dict[str, torch.Tensor], ending: str) -> torch.Tensor:
    """All tensors whose name ends so, as one."""
    return torch.cat([t.flatten() for name, t in found.items() if name.endswith(ending)])


@pytest.mark.parametrize("sharing", ["task", "all", "up", "down"])
def test_adapters_start_near_the_identity_on_bart_and_far_from_it_on_t5(sharing: str) -> None:
    params = {"technique": "adapter", "sharing": sharing, "params": {"reduction": 2}}
    bart, t5 = trained("bart", **params), trained("t5", **params)
    assert is_normal(all_of(bart, "weight"), 0.02)
    assert not all_of(bart, "bias").any()
    downs = {n: t for n, t in t5.items() if ".down." in n}
    ups = {n: t for n, t in t5.items() if ".up." in n}
    for half, bound in ((downs, 1 / sqrt(WIDTH)), (ups, 1 / sqrt(WIDTH // 2))):
        assert is_uniform(all_of(half, "weight"), bound)
        assert is_uniform(all_of(half, "bias"), bound)


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_no_pass_touches_what_is_no_layer_of_torch(kind: str) -> None:
    found = trained(kind, technique="compacter", params={"reduction": 2, "init_range": 0.01})
    n, low = 2, WIDTH // 2
    bound = sqrt(2) * sqrt(6 / (WIDTH // n + low // n))
    assert is_uniform(all_of(found, ".w"), bound)
    assert is_normal(all_of(found, ".rule"), 0.01) or all_of(found, ".rule").numel() < 200
    assert not all_of(found, ".b").any()


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_lora_starts_as_the_frozen_layer(kind: str) -> None:
    found = trained(kind, technique="lora", params={"rank": 64})
    downs = torch.cat([t.flatten() for t in found.values() if t.any()])
    assert is_uniform(downs, 1 / sqrt(WIDTH))
    assert sum(not t.any() for t in found.values()) == len(found) // 2


def test_prompts_start_small_on_bart_and_large_on_t5() -> None:
    params = {"technique": "prompt", "params": {"length": 40, "hidden": 200}}
    bart, t5 = trained("bart", **params), trained("t5", **params)
    assert is_normal(all_of(bart, "weight"), 0.02)
    assert not all_of(bart, "bias").any()
    (embedding,) = [t for t in t5.values() if t.shape == (40, WIDTH)]
    assert is_normal(embedding, 1.0)
    (first,) = [t for t in t5.values() if t.shape == (200, WIDTH)]
    assert is_uniform(first, 1 / sqrt(WIDTH))


def test_hyperformer_overwrites_its_own_start_on_bart_only() -> None:
    bart, t5 = (trained(kind, technique="hyperformer") for kind in ("bart", "t5"))
    for found, std in ((bart, 0.02), (t5, 0.01)):
        matrices = [t for t in found.values() if t.dim() == 2 and t.shape[1] not in (512,)]
        assert is_normal(torch.cat([t.flatten() for t in matrices]), std)
    tasks = {k: [t for t in f.values() if t.shape == (512,)] for k, f in (("b", bart), ("t", t5))}
    for found_tasks in tasks.values():
        assert len(found_tasks) == 2
        assert is_normal(torch.cat(found_tasks), 1.0)
    layers = {"bart": bart, "t5": t5}
    for kind, std in (("bart", 0.02), ("t5", 1.0)):
        tables = [t for t in layers[kind].values() if t.shape == (1, 512)]
        assert is_normal(torch.cat(tables).flatten(), std)
