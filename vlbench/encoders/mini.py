"""The mini edition's frozen encoder: four strided convolutions, pretrained to name each cell.

It stands where CLIP's image encoder stands in the paper: pictures go through it once, its grid of
features goes into a store, and no method trains it.

Shapes: B pictures, 3 x 64 x 64 pixels in; B x 16 x 128 features out (a 4 x 4 grid, row-major).
"""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from vlbench.encoders.base import BROKEN, GridEncoder, normalised, squeezed
from vlbench.errors import DataError

SIDE, TOKENS, WIDTH = 64, 16, 128
SCALE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
WEIGHTS = Path(__file__).parent / "weights" / "mini-encoder.safetensors"


class MiniNet(nn.Module):
    """Convolutions of stride 2 over 64, 32, 16 and 8 pixels; 0.24 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, WIDTH)
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths):
            convolution = nn.Conv2d(before, after, 3, stride=2, padding=1)
            blocks += [convolution, nn.GroupNorm(8, after), nn.GELU()]
        self.body = nn.Sequential(*blocks)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, 64, 64) in 0..1 -> (B, 16, 128)."""
        grid: Tensor = self.body(pixels * 2 - 1)  # (B, 128, 4, 4)
        return grid.flatten(2).transpose(1, 2)


def pixels(images: list[Image.Image]) -> Tensor:
    """RGB pictures of any size -> (B, 3, 64, 64) in 0..1; aspect is not kept, as in the paper."""
    return normalised([squeezed(image, SIDE) for image in images], *SCALE)


class MiniEncoder(GridEncoder):
    """The pretrained encoder; of a frame, the largest value over the grid's cells."""

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        file = weights or WEIGHTS
        if file.is_dir():
            file = file / WEIGHTS.name
        net = MiniNet()
        try:
            net.load_state_dict(load_file(file))
        except BROKEN as error:
            raise DataError(f"{file}: no weights of the mini encoder: {error}") from None
        digits = hashlib.sha256(file.read_bytes()).hexdigest()
        networks = net, lambda pixels: net(pixels).amax(dim=1)
        super().__init__("mini", digits, net, device, *networks, SIDE, TOKENS, WIDTH, WIDTH, *SCALE)

    def encode_frames(self, images: list[Image.Image]) -> np.ndarray:
        """Whole frames -> (B, 128) float32."""
        return self._features(self.embedding, [squeezed(image, SIDE) for image in images])
