"""Where a backbone's weights come from: this package, a folder, or the Hugging Face cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, BartConfig, BartForConditionalGeneration

from vlbench.backbones.bart import JointBart, join, new_bart
from vlbench.backbones.saving import load_backbone
from vlbench.backbones.tokens import ADDED_TOKENS, TOKENIZER_FILE, add_tokens, bart_tokenizer
from vlbench.errors import MissingError, UsageError

BART_BASE = BartConfig(
    vocab_size=50265,
    d_model=768,
    encoder_layers=6,
    decoder_layers=6,
    encoder_attention_heads=12,
    decoder_attention_heads=12,
    encoder_ffn_dim=3072,
    decoder_ffn_dim=3072,
    max_position_embeddings=1024,
)
"""The shapes of facebook/bart-base, for counting where its weights are not at hand."""


def embedded_bart(
    source: str | Path, feature_width: int, visual_tokens: int, meta: bool
) -> JointBart:
    """A backbone that vlbench pretrained, from a folder of the package or elsewhere."""
    folder = _package_folder(source)
    backbone = load_backbone(folder, meta=meta)
    found = (backbone.visual.feature_width, backbone.visual_tokens)
    if found != (feature_width, visual_tokens):
        raise UsageError(
            f"{folder} was pretrained on {found[1]} visual tokens of width {found[0]}, "
            f"asked for {visual_tokens} of width {feature_width}."
        )
    return backbone


def folder_tokenizer(source: str | Path) -> Any:
    """The tokenizer that lies beside an embedded backbone's weights."""
    return bart_tokenizer(_package_folder(source) / TOKENIZER_FILE)


def pretrained_bart(
    source: str | Path, feature_width: int, visual_tokens: int, meta: bool
) -> JointBart:
    """A published BART with the added rows, N(0, init_std^2), and a new visual embedding.

    Nothing is downloaded: the weights are in the Hugging Face cache or in a folder.
    """
    if meta:
        config = BartConfig(**BART_BASE.to_diff_dict())
        config.vocab_size += len(ADDED_TOKENS)
        return new_bart(config, feature_width, visual_tokens, meta=True)
    try:
        language: Any = BartForConditionalGeneration.from_pretrained(source, local_files_only=True)
    except (OSError, ValueError) as error:
        raise _not_there(source) from error
    rows = language.config.vocab_size
    language.resize_token_embeddings(rows + len(ADDED_TOKENS), mean_resizing=False)
    with torch.no_grad():
        language.model.shared.weight[rows:].normal_(std=language.config.init_std)
    return join(language, feature_width, visual_tokens)


def pretrained_tokenizer(source: str | Path) -> Any:
    """The published tokenizer with the added tokens."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
    except (OSError, ValueError) as error:
        raise _not_there(source) from error
    add_tokens(tokenizer)
    return tokenizer


def _package_folder(source: str | Path) -> Path:
    return Path(__file__).parent / source  # an absolute path stays itself


def _not_there(source: str | Path) -> MissingError:
    return MissingError(
        f"The weights of '{source}' are not on this machine. Get them with "
        f"`hf download {source}` where there is a network, or name a folder that holds them "
        "with --backbone-path."
    )
