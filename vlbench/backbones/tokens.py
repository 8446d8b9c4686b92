"""The tokens added to a vocabulary, and the tokenizer that carries them.

Appended in this order: `<extra_id_99>` ... `<extra_id_0>` where the tokenizer does not have them
(T5's does), `<vis_extra_id_99>` ... `<vis_extra_id_0>`, so the very last row of the token table is
`<vis_extra_id_0>`. The visual embedding looks an image's first token up there, its second one row
above, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from vlbench.errors import MissingError, UsageError

EXTRA_TOKENS = tuple(f"<extra_id_{i}>" for i in reversed(range(100)))
VISUAL_TOKENS = tuple(f"<vis_extra_id_{i}>" for i in reversed(range(100)))
ADDED_TOKENS = (*EXTRA_TOKENS, *VISUAL_TOKENS)

TOKENIZER_FILE = "tokenizer.json"


def bart_tokenizer(file: Path) -> PreTrainedTokenizerFast:
    """A tokenizer of the `tokenizers` library with BART's special tokens and the added ones.

    The file holds the vocabulary with `<s>`, `<pad>`, `</s>`, `<unk>`; added tokens it does not
    have yet are appended.
    """
    if not file.is_file():
        raise MissingError(f"No tokenizer at {file}.")
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_file=str(file),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )
    add_tokens(tokenizer)
    return tokenizer


def add_tokens(tokenizer: Any) -> None:
    """Append the added tokens, as special ones, where the tokenizer does not have them."""
    tokenizer.add_tokens(list(ADDED_TOKENS), special_tokens=True)


def first_tokens(tokenizer: Any, choices: Sequence[str]) -> list[int]:
    """The first sub-token of each choice, by which the choices are told apart."""
    ids = [tokenizer(choice, add_special_tokens=False)["input_ids"][0] for choice in choices]
    if len(set(ids)) < len(ids):
        raise UsageError(f"Choices {', '.join(choices)} do not differ in their first sub-token.")
    return ids
