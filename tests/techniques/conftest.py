"""Small adapted models of random weights, for two tasks."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import BartConfig, T5Config

from tests.techniques.models import card
from vlbench.backbones.bart import new_bart
from vlbench.backbones.base import Backbone
from vlbench.backbones.t5 import new_t5
from vlbench.cards.method import MethodCard
from vlbench.techniques.adapt import AdaptedModel, adapt

Toy = Callable[..., AdaptedModel]


@pytest.fixture
def method_card() -> Callable[..., MethodCard]:
    return card


def _adapted(new: Callable[[], Backbone]) -> Toy:
    def make(**table: Any) -> AdaptedModel:
        torch.manual_seed(0)
        return adapt(new(), card(**table), ("one", "two")).eval()

    return make


def _bart() -> Backbone:
    config = BartConfig(
        vocab_size=128,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_position_embeddings=32,
    )
    return new_bart(config, 16, visual_tokens=4)


def _t5() -> Backbone:
    config = T5Config(
        vocab_size=128,
        d_model=32,
        d_kv=16,
        d_ff=48,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
    )
    return new_t5(config, 16, visual_tokens=4)


@pytest.fixture
def toy() -> Toy:
    """`toy(technique=..., params=..., ...)`: a small BART adapted by that card."""
    return _adapted(_bart)


@pytest.fixture
def toy_t5() -> Toy:
    """The same with a small T5."""
    return _adapted(_t5)


@pytest.fixture(params=["bart", "t5"])
def toys(request: pytest.FixtureRequest) -> Toy:
    """The same with each of the two."""
    return _adapted({"bart": _bart, "t5": _t5}[request.param])


@pytest.fixture
def toy_batch() -> SimpleNamespace:
    generator = torch.Generator().manual_seed(0)
    return SimpleNamespace(
        task="one",
        input_ids=torch.randint(3, 100, (2, 5), generator=generator),
        features=torch.randn(2, 1, 9, 16, generator=generator),
        target_ids=torch.randint(3, 100, (2, 3), generator=generator),
        scores=torch.ones(2),
    )
