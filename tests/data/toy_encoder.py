"""An encoder of pictures and frames that is quick, and can be named on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


class ToyEncoder:
    """Three tokens of width two: the mean colour. A frame: its three means."""

    name = "toy"
    hash = "abc"
    tokens = 3
    width = 2
    frame_width = 3

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        self.device = device
        self.seen = 0

    def encode(self, images: list[Image.Image]) -> np.ndarray:
        means = self.encode_frames(images)
        return np.stack([means, means / 3], axis=2)

    def encode_frames(self, images: list[Image.Image]) -> np.ndarray:
        self.seen += len(images)
        return np.stack([np.asarray(image).mean(axis=(0, 1)) for image in images])


class OtherEncoder(ToyEncoder):
    """Another one of the same shape."""

    name = "other"
