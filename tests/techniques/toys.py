"""Toy backbones of a few thousand parameters: the same classes as the real ones, random weights."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from transformers import BartConfig, T5Config

from vlbench.backbones.bart import new_bart
from vlbench.backbones.encoder_decoder import EncoderDecoder
from vlbench.backbones.t5 import new_t5

BART = BartConfig(
    vocab_size=128,
    d_model=32,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
    encoder_ffn_dim=48,
    decoder_ffn_dim=48,
    max_position_embeddings=32,
    init_std=0.1,  # so that what a technique changes shows in the logits
)
T5 = T5Config(
    vocab_size=128, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0
)
FEATURE_WIDTH = 16
TASKS = ("one", "two")


ONE_LAYER = {
    "bart": {"encoder_layers": 1, "decoder_layers": 1, "init_std": 0.02},
    "t5": {"num_layers": 1, "num_decoder_layers": 1},
}
"""Sizes of toys whose sites are few, initialised as published models are."""


GATED = {"feed_forward_proj": "gated-gelu", "is_gated_act": True, "dense_act_fn": "gelu_new"}
"""Sizes of a T5 v1.1's feed-forwards."""


def toy_backbone(kind: str, seed: int = 0, meta: bool = False, **sizes: Any) -> EncoderDecoder:
    """A toy `bart` or `t5`, with these values in place of the usual sizes."""
    torch.manual_seed(seed)
    if kind == "bart":
        config = BartConfig(**{**BART.to_diff_dict(), **sizes})
        return new_bart(config, FEATURE_WIDTH, visual_tokens=4, meta=meta)
    config = T5Config(**{**T5.to_diff_dict(), **sizes})
    return new_t5(config, FEATURE_WIDTH, visual_tokens=4, meta=meta)


def toy_batch(task: str = "one", images: int = 1) -> SimpleNamespace:
    """Two examples, one with padding, of 3 x 3 feature grids."""
    generator = torch.Generator().manual_seed(0)
    return SimpleNamespace(
        task=task,
        input_ids=torch.tensor([[5, 9, 8, 7, 2], [6, 9, 2, 1, 1]]),
        features=torch.randn(2, images, 9, FEATURE_WIDTH, generator=generator),
        target_ids=torch.tensor([[0, 11, 12, 2], [0, 13, 2, -100]]),
        scores=torch.ones(2),
    )


def on(device: torch.device, batch: SimpleNamespace) -> SimpleNamespace:
    """The same batch there."""
    held = {name: x.to(device) if torch.is_tensor(x) else x for name, x in vars(batch).items()}
    return SimpleNamespace(**held)
