from __future__ import annotations

import pytest

from vlbench.backbones import BACKBONES
from vlbench.encoders import ENCODERS, load_encoder
from vlbench.errors import UsageError


def test_an_unknown_encoder_is_told_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"Unknown encoder 'mni'. Did you mean 'mini'"):
        load_encoder("mni")


def test_the_shipped_encoder_gives_the_features_that_mini_bart_reads() -> None:
    encoder, features = load_encoder("mini"), BACKBONES["mini-bart"].features["image"]
    assert features.encoder in ENCODERS
    assert (encoder.name, encoder.tokens, encoder.width) == (
        features.encoder,
        features.tokens,
        features.width,
    )
