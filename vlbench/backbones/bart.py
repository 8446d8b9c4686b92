"""BART with pictures (Sung et al., 2022): visual tokens behind the text in BART's own encoder.

The text's embeddings (and prompts in front of it) pass the embedding norm, the visual ones do not;
text positions count the text only. The decoder is the library's, unchanged.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BartConfig, BartForConditionalGeneration
from transformers.masking_utils import create_bidirectional_mask

from vlbench.backbones.base import Backbone
from vlbench.backbones.sites import Point
from vlbench.backbones.visual import VisualEmbedding


class JointBart(Backbone):
    """BART whose encoder reads [prompts, text, vision]."""

    norm_type = nn.LayerNorm
    points: ClassVar[tuple[Point, ...]] = (
        Point("encoder", "self_attention", "self_attn"),
        Point("encoder", "feed_forward", "fc2"),
        Point("decoder", "self_attention", "self_attn"),
        Point("decoder", "cross_attention", "encoder_attn"),
        Point("decoder", "feed_forward", "fc2"),
    )

    @property
    def answer_prefix(self) -> tuple[int, ...]:
        """Targets are `<s> answer </s>`, so the answer stands behind `</s> <s>`."""
        return (self.config.decoder_start_token_id, self.config.bos_token_id)

    def layers(self, side: str) -> nn.ModuleList:
        """The encoder's or the decoder's layers."""
        stack: Any = (
            self.language.model.encoder if side == "encoder" else self.language.model.decoder
        )
        layers: nn.ModuleList = stack.layers
        return layers

    def embed_text(self, input_ids: Tensor) -> Tensor:
        """Tokens plus positions, (B, L) -> (B, L, C)."""
        encoder = self.language.model.encoder
        embedded: Tensor = encoder.embed_tokens(input_ids) + encoder.embed_positions(input_ids)
        return embedded

    def encode_joint(self, text: Tensor, vision: Tensor, mask: Tensor) -> Tensor:
        """The library's encoder layers over [norm(text), vision]."""
        encoder = self.language.model.encoder
        hidden = torch.cat([encoder.layernorm_embedding(text), vision], dim=1)  # (B, S, C)
        hidden = functional.dropout(hidden, p=encoder.dropout, training=self.training)
        attention_mask = create_bidirectional_mask(
            config=encoder.config, inputs_embeds=hidden, attention_mask=mask
        )
        for layer in encoder.layers:
            hidden = layer(hidden, attention_mask)
        return hidden

    def ending(self, beams: int) -> dict[str, Any]:
        """The authors' beam search forces the end at the last position, their greedy one never."""
        return {"forced_eos_token_id": self.config.eos_token_id if beams > 1 else None}

    def set_dropout(self, rate: float) -> None:
        """Hidden states, attention and activation alike, as the authors' `--dropout` does."""
        for name in ("dropout", "attention_dropout", "activation_dropout"):
            setattr(self.config, name, rate)
            for module in self.language.modules():
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, rate)


def new_bart(
    config: BartConfig, feature_width: int, visual_tokens: int = 36, meta: bool = False
) -> JointBart:
    """A JointBart of random weights; `config.vocab_size` counts the added tokens (tokens.py)."""
    with torch.device("meta" if meta else "cpu"):
        return join(BartForConditionalGeneration(config), feature_width, visual_tokens)


def join(language: Any, feature_width: int, visual_tokens: int) -> JointBart:
    """A new visual embedding in front of `language`, in training mode."""
    for module in language.modules():
        if isinstance(module, nn.Embedding):
            module.padding_idx = None  # the resized table has none: its pad row learns too
    config = language.config
    visual = VisualEmbedding(feature_width, config.d_model, nn.LayerNorm)
    visual.initialise(config.init_std)
    return JointBart(visual, language, visual_tokens).train()
