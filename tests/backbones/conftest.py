from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import BartConfig

from vlbench.backbones.bart import JointBart, new_bart


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
def batch() -> SimpleNamespace:
    generator = torch.Generator().manual_seed(0)
    return SimpleNamespace(
        task="vqav2",
        input_ids=torch.tensor([[0, 9, 8, 7, 2], [0, 9, 2, 1, 1]]),
        features=torch.randn(2, 1, 9, 6, generator=generator),
        target_ids=torch.tensor([[0, 11, 2], [0, 2, -100]]),
    )
