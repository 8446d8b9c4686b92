from __future__ import annotations

from pathlib import Path

import pytest

from tools.pretrain.tokenizer import train_tokenizer
from vlbench.backbones import build_tokenizer
from vlbench.backbones.weights import bart_tokenizer, first_tokens

TEXTS = ["what color is the large star?", "a small red circle", "tally blue items"] * 3


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocabulary") / "tokenizer.json"
    train_tokenizer(TEXTS, path)
    return path


@pytest.fixture(scope="module", params=["trained here", "shipped"])
def tokenizer(request, file):
    return bart_tokenizer(file) if request.param == "trained here" else build_tokenizer("mini-bart")


@pytest.mark.parametrize(
    "text",
    [
        "what color is the large star?",
        'isn\'t it "blue" , or (grey) ; row one ...',
        "ça va à l'été? straße, naïve",
        "кошка на столе",
        "红色的圆圈",
        "שלום עולם",
        "🟥 ⭐ 👩‍👩‍👧 e\u0301",
        "tabs\tand\nlines  and   spaces",
        "\x00\x7f\u200b",
        "a" * 300,
    ],
)
def test_any_text_survives_the_way_to_tokens_and_back(tokenizer, text) -> None:
    tokens = tokenizer(text).input_ids
    assert tokenizer.unk_token_id not in tokens
    assert tokenizer.decode(tokens, skip_special_tokens=True).removeprefix(" ") == text


def test_the_shipped_vocabulary_tells_true_from_false_by_the_first_token() -> None:
    assert len(set(first_tokens(build_tokenizer("mini-bart"), ["false", "true"]))) == 2
