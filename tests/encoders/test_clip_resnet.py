"""CLIP's ResNets: timm itself is an extra, so a network of the same interface stands in for it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vlbench.encoders import load_encoder
from vlbench.errors import DataError, MissingError


class FakeNet(nn.Module):
    """A grid of (n, 2048, 7, 7), its mean as the pooled embedding of width 512."""

    num_classes = 512

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        cells = nn.functional.avg_pool2d(pixels, 32)  # (n, 3, 7, 7)
        return cells.repeat(1, 683, 1, 1)[:, :2048]

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.forward_features(pixels).mean(dim=(2, 3))[:, :512]


@pytest.fixture
def asked(monkeypatch) -> list[tuple]:
    """What timm was asked for."""
    calls: list[tuple] = []

    def create_model(model: str, **options: object) -> nn.Module:
        calls.append((model, options))
        return FakeNet()

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))
    return calls


@pytest.fixture
def weights(tmp_path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path


def test_the_network_is_timms_with_the_weights_of_the_folder(asked, weights) -> None:
    encoder = load_encoder("clip-rn101", weights)
    file = str(weights / "model.safetensors")
    options = {"pretrained": True, "pretrained_cfg_overlay": {"file": file}}
    assert asked == [("resnet101_clip.openai", options)]
    assert (encoder.name, encoder.tokens, encoder.width) == ("clip-rn101", 49, 2048)
    assert not encoder.net.training
    (weights / "model.safetensors").write_bytes(b"others")
    assert load_encoder("clip-rn101", weights).hash != encoder.hash


def test_a_picture_becomes_a_grid_in_reading_order(asked, weights) -> None:
    image = Image.new("RGB", (448, 224))
    image.paste((255, 255, 255), (64, 0, 128, 32))  # the second cell of the first row
    found = load_encoder("clip-rn101", weights).encode([image])
    assert found.shape == (1, 49, 2048) and found.dtype == np.float32
    assert found[0, :, 0].argmax() == 1


def test_a_frame_becomes_one_vector(asked, weights) -> None:
    assert load_encoder("clip-rn101", weights).encode_frames(
        [Image.new("RGB", (300, 240))] * 2
    ).shape == (2, 512)


def test_weights_that_do_not_fit_are_told_with_their_file(asked, weights, monkeypatch) -> None:
    def create_model(*_: object, **__: object) -> None:
        raise RuntimeError("size mismatch")

    monkeypatch.setattr(sys.modules["timm"], "create_model", create_model)
    with pytest.raises(DataError, match=r"model\.safetensors: cannot be read as timm's resnet101"):
        load_encoder("clip-rn101", weights)


def test_without_timm_the_extra_and_torchvision_are_told(monkeypatch, weights) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingError, match=r"'vlbench\[clip-resnet\]'.*torchvision that was built"):
        load_encoder("clip-rn101", weights)
