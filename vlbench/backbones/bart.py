"""BART with pictures (Sung et al., 2022): visual tokens behind the text in BART's own encoder.

The text's embeddings (and prompts in front of it) pass the embedding norm, the visual ones do not;
text positions count the text only. The decoder is the library's, unchanged.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BartConfig, BartForConditionalGeneration

from vlbench.backbones.base import Kind, Side
from vlbench.backbones.encoder_decoder import EncoderDecoder, SublayerSpec
from vlbench.backbones.visual import VisualEmbedding

ATTENTION: dict[Kind, str] = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}


def attending(side: Side, kind: Kind, path: str) -> SublayerSpec:
    """An attention; BART's norm comes behind it."""
    qkv = tuple(f"{path}.{name}" for name in ATTENTION.values())
    order = (qkv, (f"{path}.out_proj",), (f"{path}_layer_norm",))
    return SublayerSpec(side, kind, path, path, ATTENTION, order)


def feeding(side: Side) -> SublayerSpec:
    """The feed-forward."""
    order = (("fc1",), ("fc2",), ("final_layer_norm",))
    return SublayerSpec(side, "feed_forward", "fc2", "fc1", {}, order)


class JointBart(EncoderDecoder):
    """BART whose encoder reads [prompts, text, vision]."""

    norm_type = nn.LayerNorm
    sublayers: ClassVar[tuple[SublayerSpec, ...]] = (
        attending("encoder", "self_attention", "self_attn"),
        feeding("encoder"),
        attending("decoder", "self_attention", "self_attn"),
        attending("decoder", "cross_attention", "encoder_attn"),
        feeding("decoder"),
    )
    widths = ("d_model", "encoder_ffn_dim", "decoder_ffn_dim")
    embeddings = ("embed_tokens", "embed_positions")
    layer_list = "layers"
    first_norm = "layernorm_embedding"

    @property
    def answer_prefix(self) -> tuple[int, ...]:
        """Targets are `<s> answer </s>`, so the answer stands behind `</s> <s>`."""
        return (self.config.decoder_start_token_id, self.config.bos_token_id)

    def stack(self, side: Side) -> nn.Module:
        return cast(nn.Module, self.language.model.get_submodule(side))

    def initialise(self, module: nn.Module) -> None:
        """N(0, init_std^2) weights and zero biases of linear layers and embeddings."""
        for part in module.modules():
            if isinstance(part, nn.Linear | nn.Embedding):
                nn.init.normal_(part.weight, std=self.config.init_std)
            if isinstance(part, nn.Linear) and part.bias is not None:
                nn.init.zeros_(part.bias)

    def embed_text(self, input_ids: Tensor) -> Tensor:
        """Tokens plus positions, (B, L) -> (B, L, C)."""
        encoder = self.language.model.encoder
        return cast(Tensor, encoder.embed_tokens(input_ids) + encoder.embed_positions(input_ids))

    def enter(self, text: Tensor, vision: Tensor) -> Tensor:
        """[norm(text), vision] and dropout."""
        encoder = self.language.model.encoder
        hidden = torch.cat([encoder.layernorm_embedding(text), vision], dim=1)
        return functional.dropout(hidden, p=encoder.dropout, training=self.training)

    def generation_settings(self, beams: int) -> dict[str, Any]:
        """The authors' beam search forces the end at the last position, their greedy one never."""
        return {"forced_eos_token_id": self.config.eos_token_id if beams > 1 else None}

    def set_dropout(self, rate: float) -> None:
        for name in ("dropout", "attention_dropout", "activation_dropout"):
            setattr(self.config, name, rate)
            for module in self.language.modules():
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, rate)


def new_bart(
    config: BartConfig, feature_width: int, visual_tokens: int = 36, meta: bool = False
) -> JointBart:
    """A JointBart of random weights; `config.vocab_size` counts the added tokens (weights.py)."""
    with torch.device("meta" if meta else "cpu"):
        return join_bart(BartForConditionalGeneration(config), feature_width, visual_tokens)


def join_bart(language: Any, feature_width: int, visual_tokens: int) -> JointBart:
    """A new visual embedding in front of `language`, in training mode."""
    visual = VisualEmbedding(feature_width, language.config.d_model, nn.LayerNorm)
    backbone = JointBart(visual, language, visual_tokens)
    backbone.initialise(visual)
    return backbone.train()
