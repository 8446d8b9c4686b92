"""Vocabularies of the embedded backbones: byte-level BPE in lower case: any text has tokens."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
SIZE = 1000


def byte_pairs(
    texts: Iterable[str], special: list[str], size: int, unknown: str | None = None
) -> Tokenizer:
    """Learn a lower-case byte-level vocabulary of `size` tokens, the special ones first."""
    tokenizer = Tokenizer(models.BPE(unk_token=unknown))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def train_tokenizer(texts: Iterable[str], file: Path) -> None:
    """Learn the merges on `texts` and write `tokenizer.json`; ids of SPECIAL are BART's."""
    tokenizer = byte_pairs(texts, SPECIAL, SIZE, "<unk>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(file))
