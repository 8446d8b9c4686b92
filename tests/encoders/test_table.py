from __future__ import annotations

import subprocess
import sys
from importlib import import_module

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


def test_an_encoder_of_your_own_is_named_by_its_module(tmp_path) -> None:
    encoder = load_encoder("tests.data.toy_encoder:ToyEncoder", tmp_path, "cuda:1")
    assert encoder.device == "cuda:1"
    with pytest.raises(UsageError, match=r"'tests.data.none:Mine': no module named"):
        load_encoder("tests.data.none:Mine")


def test_the_table_is_read_without_torch() -> None:
    code = "import sys, vlbench.encoders; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_row_of_the_table_names_a_function() -> None:
    for reference in ENCODERS.values():
        module, _, function = reference.partition(":")
        assert callable(getattr(import_module(module), function))
