from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import BartConfig, T5Config

from vlbench.backbones.bart import JointBart, new_bart
from vlbench.backbones.encoder_decoder import EncoderDecoder
from vlbench.backbones.t5 import JointT5, new_t5


@pytest.fixture
def config() -> BartConfig:
    return BartConfig(
        vocab_size=240,
        d_model=16,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        max_position_embeddings=32,
        init_std=0.2,  # large enough for every part to show in the logits
    )


@pytest.fixture
def backbone(config: BartConfig) -> JointBart:
    torch.manual_seed(0)
    return new_bart(config, feature_width=6, visual_tokens=4).eval()


@pytest.fixture
def t5_config() -> T5Config:
    return T5Config(
        vocab_size=240,
        d_model=16,
        d_kv=8,
        d_ff=24,
        num_layers=2,
        num_decoder_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
    )


@pytest.fixture
def t5(t5_config: T5Config) -> JointT5:
    torch.manual_seed(0)
    return new_t5(t5_config, feature_width=6, visual_tokens=4).eval()


@pytest.fixture(params=["backbone", "t5"])
def joint(request: pytest.FixtureRequest) -> EncoderDecoder:
    """A BART, then a T5."""
    found: EncoderDecoder = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def batch() -> SimpleNamespace:
    generator = torch.Generator().manual_seed(0)
    return SimpleNamespace(
        task="vqav2",
        input_ids=torch.tensor([[0, 9, 8, 7, 2], [0, 9, 2, 1, 1]]),
        features=torch.randn(2, 1, 9, 6, generator=generator),
        target_ids=torch.tensor([[0, 11, 2], [0, 2, -100]]),
    )
