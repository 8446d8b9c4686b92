"""T5 with pictures (Sung et al., 2022): visual tokens behind the text in T5's own encoder.

Text, and prompts in front of it, have T5's relative position bias among themselves; every pair
with a visual token has none. The bias is the first layer's, and all layers add the same. The
decoder is the library's, unchanged.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import T5Config, T5ForConditionalGeneration
from transformers.models.t5.modeling_t5 import T5LayerNorm

from vlbench.backbones.base import Kind, Side
from vlbench.backbones.encoder_decoder import EncoderDecoder, SublayerSpec
from vlbench.backbones.visual import VisualEmbedding

ATTENTION: dict[Kind, str] = {"query": "q", "key": "k", "value": "v"}


def attending(side: Side, kind: Kind, number: int, name: str) -> SublayerSpec:
    """The attention that is sub-layer `number` of a block; T5 norms what enters it."""
    path, norm = f"layer.{number}.{name}", f"layer.{number}.layer_norm"
    qkv = tuple(f"{path}.{projection}" for projection in ATTENTION.values())
    return SublayerSpec(side, kind, path, norm, ATTENTION, ((norm,), qkv, (f"{path}.o",)))


def feeding(side: Side, number: int) -> SublayerSpec:
    """The feed-forward that is sub-layer `number` of a block."""
    path, norm = f"layer.{number}.DenseReluDense", f"layer.{number}.layer_norm"
    into = tuple(f"{path}.{name}" for name in ("wi", "wi_0", "wi_1"))  # one, or a gate and a value
    return SublayerSpec(side, "feed_forward", path, norm, {}, ((norm,), into, (f"{path}.wo",)))


class JointT5(EncoderDecoder):
    """T5 whose encoder reads [prompts, text, vision]."""

    norm_type = T5LayerNorm
    sublayers: ClassVar[tuple[SublayerSpec, ...]] = (
        attending("encoder", "self_attention", 0, "SelfAttention"),
        feeding("encoder", 1),
        attending("decoder", "self_attention", 0, "SelfAttention"),
        attending("decoder", "cross_attention", 1, "EncDecAttention"),
        feeding("decoder", 2),
    )
    widths = ("d_model", "d_ff", "d_kv")
    embeddings = ("embed_tokens",)
    layer_list = "block"
    last_norm = "final_layer_norm"

    @property
    def answer_prefix(self) -> tuple[int, ...]:
        """Targets are `answer </s>`, so the answer stands behind the start token."""
        return (self.config.decoder_start_token_id,)

    def stack(self, side: Side) -> nn.Module:
        return cast(nn.Module, self.language.get_submodule(side))

    def position_biases(self, stack: nn.Module) -> list[nn.Parameter]:
        """The relative position bias."""
        return [attention(stack).relative_attention_bias.weight]

    def embed_text(self, input_ids: Tensor) -> Tensor:
        """Tokens alone, (B, L) -> (B, L, C): positions enter as biases of the attention."""
        return cast(Tensor, self.language.get_input_embeddings()(input_ids))

    def enter(self, text: Tensor, vision: Tensor) -> Tensor:
        """[text, vision] and dropout."""
        return cast(Tensor, self.language.encoder.dropout(torch.cat([text, vision], dim=1)))

    def encoder_inputs(self, stack: Any, hidden: Tensor, text: int, mask: Tensor) -> dict[str, Any]:
        """The position bias too, which all blocks share."""
        inputs = super().encoder_inputs(stack, hidden, text, mask)
        return {**inputs, "position_bias": text_bias(stack, text, hidden.shape[1] - text)}

    def decoder_inputs(
        self, stack: Any, hidden: Tensor, encoded: Tensor, mask: Tensor, cache: Any
    ) -> dict[str, Any]:
        """The position bias too, which all blocks share."""
        inputs = super().decoder_inputs(stack, hidden, encoded, mask, cache)
        past = 0 if cache is None else cache.get_seq_length()
        new = hidden.shape[1]
        bias = attention(stack).compute_bias(new, past + new, past_seen_tokens=past)
        return {**inputs, "position_bias": bias}

    def leave(self, stack: Any, hidden: Tensor) -> Tensor:
        """The final norm and dropout."""
        return cast(Tensor, stack.dropout(stack.final_layer_norm(hidden)))

    def set_dropout(self, rate: float) -> None:
        self.config.dropout_rate = rate
        for module in self.language.modules():
            if isinstance(module, nn.Dropout):
                module.p = rate
            elif isinstance(getattr(module, "dropout", None), float):
                module.dropout = rate


def attention(stack: Any) -> Any:
    """The first block's self-attention, which holds the position bias of all blocks."""
    return stack.block[0].layer[0].SelfAttention


def text_bias(encoder: Any, text: int, vision: int) -> Tensor:
    """Relative position bias (1, heads, S, S): between text tokens, zero where vision is."""
    bias: Tensor = attention(encoder).compute_bias(text, text)
    return functional.pad(bias, (0, vision, 0, vision))


def new_t5(
    config: T5Config, feature_width: int, visual_tokens: int = 36, meta: bool = False
) -> JointT5:
    """A JointT5 of random weights; `config.vocab_size` counts the added tokens (weights.py)."""
    with torch.device("meta" if meta else "cpu"):
        return join_t5(T5ForConditionalGeneration(config), feature_width, visual_tokens)


def join_t5(language: Any, feature_width: int, visual_tokens: int) -> JointT5:
    """A new visual embedding in front of `language`, in training mode; torch initialises it."""
    config = language.config
    norm = partial(T5LayerNorm, eps=config.layer_norm_epsilon)
    visual = VisualEmbedding(feature_width, config.d_model, norm)
    return JointT5(visual, language, visual_tokens).train()
