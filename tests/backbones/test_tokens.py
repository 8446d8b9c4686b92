from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from vlbench.backbones.weights import ADDED_TOKENS, bart_tokenizer, first_tokens
from vlbench.errors import MissingError, UsageError

WORDS = ("<s>", "<pad>", "</s>", "<unk>", "true", "false", "is", "it")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def test_the_added_tokens_end_with_the_first_visual_one(file: Path) -> None:
    tokenizer = bart_tokenizer(file)
    assert len(tokenizer) == len(WORDS) + 200
    assert len(ADDED_TOKENS) == len(set(ADDED_TOKENS)) == 200
    ids = tokenizer.convert_tokens_to_ids(["<extra_id_99>", "<extra_id_0>", "<vis_extra_id_0>"])
    assert ids == [len(WORDS), len(WORDS) + 99, len(WORDS) + 199]


def test_added_tokens_saved_with_the_tokenizer_are_not_added_again(file: Path) -> None:
    bart_tokenizer(file).backend_tokenizer.save(str(file))
    tokenizer = bart_tokenizer(file)
    assert len(tokenizer) == len(WORDS) + 200
    assert tokenizer.convert_tokens_to_ids("<vis_extra_id_0>") == len(tokenizer) - 1


def test_special_tokens_are_barts(file: Path) -> None:
    tokenizer = bart_tokenizer(file)
    special = (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id)
    assert special == (0, 1, 2)


def test_choices_are_told_apart_by_their_first_token(file: Path) -> None:
    tokenizer = bart_tokenizer(file)
    assert first_tokens(tokenizer, ["false", "true"]) == [5, 4]
    with pytest.raises(UsageError, match="do not differ"):
        first_tokens(tokenizer, ["it is", "it"])


def test_a_tokenizer_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"tokenizer\.json"):
        bart_tokenizer(tmp_path / "tokenizer.json")
