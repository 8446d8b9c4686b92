from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image

from vlbench.backbones import BACKBONES
from vlbench.encoders import ENCODERS, load_encoder
from vlbench.encoders.base import centred, normalised, squeezed
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


def striped() -> Image.Image:
    """60 x 20: a red, a green and a blue square."""
    values = np.zeros((20, 60, 3), np.uint8)
    for place in range(3):
        values[:, 20 * place : 20 * (place + 1), place] = 255
    return Image.fromarray(values)


def test_a_squeezed_picture_keeps_its_edges_and_not_its_aspect() -> None:
    found = squeezed(striped(), 30)
    assert found.size == (30, 30)
    assert [found.getpixel((x, 15)).index(255) for x in (2, 15, 27)] == [0, 1, 2]


def test_a_centred_frame_is_cut_and_keeps_its_aspect() -> None:
    for image in (striped(), striped().rotate(90, expand=True)):
        found = centred(image, 10)
        assert found.size == (10, 10) and found.getpixel((5, 5)) == (0, 255, 0)


def test_a_picture_of_the_right_size_is_left_as_it_is() -> None:
    image = striped().crop((0, 0, 20, 20))
    assert squeezed(image, 20) is image
    assert centred(image, 20).tobytes() == image.tobytes()


def test_pixels_are_normalised_by_channel() -> None:
    image = Image.new("RGB", (2, 2), (0, 255, 51))
    found = normalised([image], (0.5, 0.5, 0.1), (0.5, 0.25, 1.0))
    assert found.shape == (1, 3, 2, 2)
    torch.testing.assert_close(found[0, :, 0, 0], torch.tensor([-1.0, 2.0, 0.1]))
