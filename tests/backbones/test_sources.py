"""Where weights come from."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import BartConfig, BartForConditionalGeneration

from vlbench.backbones import CLIP
from vlbench.backbones.weights import pretrained_bart, pretrained_tokenizer
from vlbench.errors import MissingError


def test_a_folder_named_like_a_model_of_the_hub_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lies in the current folder, which may be anybody's; the key holds the hub's weights."""
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    config = BartConfig(
        vocab_size=9, d_model=8, encoder_attention_heads=1, decoder_attention_heads=1, **sizes
    )
    BartForConditionalGeneration(config).save_pretrained(tmp_path / "nobody" / "bart")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pretrained_bart(tmp_path / "nobody" / "bart", CLIP["image"], meta=False)
    for read in (lambda name: pretrained_bart(name, CLIP["image"], False), pretrained_tokenizer):
        with pytest.raises(MissingError, match="'nobody/bart' are not on this machine"):
            read("nobody/bart")
