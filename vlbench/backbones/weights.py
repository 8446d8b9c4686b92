"""A backbone's weights and tokenizer, from wherever they lie, with the tokens that are added.

Tokens are appended to a vocabulary in this order: `<extra_id_99>` ... `<extra_id_0>` where the
tokenizer does not have them (T5's does), `<vis_extra_id_99>` ... `<vis_extra_id_0>`, so the very
last row of the token embedding is `<vis_extra_id_0>`. The visual embedding looks an image's first
token up there, its second one row above, and so on. Nothing is downloaded.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import (
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.utils import logging

from vlbench.backbones.bart import JointBart, join_bart, new_bart
from vlbench.backbones.sources import CONFIG_FILE, missing, package_folder, weights_folder
from vlbench.backbones.t5 import JointT5, join_t5, new_t5
from vlbench.cards.backbone import Features
from vlbench.errors import DataError, MissingError, UsageError, is_out_of_memory
from vlbench.tensors import copy_into, listed, unique_state

VISUAL_TOKENS = tuple(f"<vis_extra_id_{i}>" for i in reversed(range(100)))
ADDED_TOKENS = (*(f"<extra_id_{i}>" for i in reversed(range(100))), *VISUAL_TOKENS)

TOKENIZER_FILE = "tokenizer.json"
WEIGHTS_FILE = "model.safetensors"
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
T5_BASE = T5Config(vocab_size=32128, d_model=768, d_kv=64, d_ff=3072, num_layers=12, num_heads=12)
T5_BASE.decoder_start_token_id = 0
"""The shapes of t5-base. Its table has 28 rows more than its tokenizer has tokens."""
T5_ROWS = 32100 + len(VISUAL_TOKENS)
"""Tokens of t5-base's tokenizer, its 100 `<extra_id_i>` among them, and the visual ones."""
KNOWN: dict[str | Path, Any] = {"facebook/bart-base": BART_BASE, "t5-base": T5_BASE}
"""Names on the hub -> shapes, which need no weights."""


def embedded_bart(source: str | Path, features: Features, meta: bool) -> JointBart:
    """A backbone that vlbench pretrained, from a folder of the package or elsewhere."""
    folder = package_folder(source)
    backbone = load_backbone(folder, meta=meta)
    width, tokens = backbone.visual.feature_width, backbone.visual_tokens
    if not features.is_own:
        backbone.initialise(backbone.visual.read_width(features.width))
    elif width != features.width or (features.is_grid and tokens != features.tokens):
        raise UsageError(
            f"{folder} was pretrained on {tokens} visual tokens of width {width}, "
            f"asked for {features.tokens} of width {features.width}."
        )
    backbone.visual_tokens = features.tokens
    return backbone


def load_backbone(folder: Path, meta: bool = False) -> JointBart:
    """The backbone that a folder of ours holds; on the meta device it has shapes and no weights."""
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        width, tokens = config["feature_width"], config["visual_tokens"]
        backbone = new_bart(BartConfig(**config["language"]), width, tokens, meta=meta)
        if not meta:
            weights = folder / WEIGHTS_FILE
            copy_into(unique_state(backbone), load_file(weights), str(weights))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise MissingError(f"No backbone in {folder}: {reason}.") from error
    return backbone


def folder_tokenizer(source: str | Path) -> Any:
    """The tokenizer that lies beside an embedded backbone's weights."""
    return bart_tokenizer(package_folder(source) / TOKENIZER_FILE)


def bart_tokenizer(file: Path) -> Any:
    """A tokenizer of the `tokenizers` library with BART's special tokens and the added ones."""
    if not file.is_file():
        raise MissingError(f"No tokenizer at {file}.")
    special = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_file=str(file), **{f"{name}_token": token for name, token in special.items()}
    )
    tokenizer.add_tokens(list(ADDED_TOKENS), special_tokens=True)
    return tokenizer


def pretrained_bart(source: str | Path, features: Features, meta: bool) -> JointBart:
    """A published BART with 200 added rows, N(0, init_std^2), and a new visual embedding."""
    if meta:
        config = _shapes(BartForConditionalGeneration, source)
        config.vocab_size += len(ADDED_TOKENS)
        return new_bart(config, features.width, features.tokens, meta=True)
    language = _pretrained(BartForConditionalGeneration, source)
    config = language.config
    _resize(language, config.vocab_size + len(ADDED_TOKENS), std=config.init_std)
    return join_bart(language, features.width, features.tokens)


def pretrained_t5(source: str | Path, features: Features, meta: bool) -> JointT5:
    """A published T5 whose table ends with the 100 visual tokens, and a new visual embedding.

    They stand behind the tokenizer's own 32,100 tokens: of t5-base's 32,128 rows they take the 28
    unused ones, as they are, and 72 new ones, N(0, 1). An output layer of its own (T5 v1.1,
    Flan-T5) gets as many, U(-1/sqrt(C), 1/sqrt(C)).
    """
    if meta:
        config = _shapes(T5ForConditionalGeneration, source)
        config.vocab_size = T5_ROWS if source in KNOWN else len(pretrained_tokenizer(source))
        return new_t5(config, features.width, features.tokens, meta=True)
    language = _pretrained(T5ForConditionalGeneration, source)
    before, rows = language.config.vocab_size, len(pretrained_tokenizer(source))
    _resize(language, rows, std=1.0)
    if rows > before and not language.config.tie_word_embeddings:
        with torch.no_grad():  # as torch makes a linear layer, which T5's own pass leaves alone
            nn.init.kaiming_uniform_(language.lm_head.weight[before:], a=sqrt(5))
    return join_t5(language, features.width, features.tokens)


def pretrained_tokenizer(source: str | Path) -> Any:
    """The published tokenizer with the added tokens."""
    with missing(source):
        tokenizer = AutoTokenizer.from_pretrained(
            weights_folder(source), local_files_only=True, trust_remote_code=False
        )
    tokenizer.add_tokens(list(ADDED_TOKENS), special_tokens=True)
    return tokenizer


def _resize(language: Any, rows: int, std: float) -> None:
    """Give the token table `rows` rows; new ones are N(0, std^2)."""
    before = language.config.vocab_size
    language.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        language.get_input_embeddings().weight[before:].normal_(std=std)


def _shapes(model: Any, source: str | Path) -> Any:
    """The known configuration of a name, else the one beside the weights, tied as they are."""
    if source in KNOWN:
        return model.config_class(**KNOWN[source].to_diff_dict())
    with missing(source):
        config = model.config_class.from_pretrained(weights_folder(source), local_files_only=True)
    config.tie_word_embeddings = _is_tied(model, source)
    return config


@cache
def _is_tied(model: Any, source: str | Path) -> bool:
    """Whether the output layer is the token table: the weights tell, not config.json."""
    return bool(_pretrained(model, source).config.tie_word_embeddings)


def _pretrained(model: Any, source: str | Path) -> Any:
    """The model in float32; DataError where a weight would be lost, but for tied token tables."""
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    options: Any = {"ignore_mismatched_sizes": True, "output_loading_info": True}
    try:
        with missing(source):
            language, loading = model.from_pretrained(
                weights_folder(source), local_files_only=True, dtype=torch.float32, **options
            )
    except Exception as error:  # whatever half a file makes of it
        if isinstance(error, MissingError) or is_out_of_memory(error):
            raise
        raise DataError(f"{source}: the weights are damaged or not whole.") from error
    table = language.get_input_embeddings().weight
    own = {n: p for n, p in language.named_parameters() if n.endswith("embed_tokens.weight")}
    unequal = [n for n in own.keys() - loading["missing_keys"] if not torch.equal(own[n], table)]
    faults = {
        "other shapes": {name for name, *_ in loading["mismatched_keys"]},
        "missing": loading["missing_keys"] - own.keys(),
        "not part of it": loading["unexpected_keys"],
        "token tables other than the one of the model": unequal,
    }
    refuse_weights(source, model.__name__, faults)
    language.config.tie_word_embeddings = language.get_output_embeddings().weight is table
    return language


def refuse_weights(source: str | Path, model: str, faults: Mapping[str, Collection[str]]) -> None:
    """Raise DataError where a fault has names of tensors."""
    for fault, names in faults.items():
        if names:
            raise DataError(
                f"{source}: the weights are not those of a {model} as {CONFIG_FILE} "
                f"describes it: {fault}: {listed(sorted(names))}."
            )


def first_tokens(tokenizer: Any, choices: Sequence[str]) -> list[int]:
    """The first sub-token of each choice, by which the choices differ."""
    ids = [tokenizer(choice, add_special_tokens=False)["input_ids"][0] for choice in choices]
    if len(set(ids)) < len(ids):
        raise UsageError(f"Choices {', '.join(choices)} do not differ in their first sub-token.")
    return ids
