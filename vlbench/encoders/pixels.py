"""Pictures as the input of a network: one size, then normalised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

BICUBIC = Image.Resampling.BICUBIC
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's training pictures, values in 0..1 (https://github.com/openai/CLIP)."""


def squeezed(image: Image.Image, side: int) -> Image.Image:
    """The whole picture as a square: its aspect is not kept, as VL-Adapter's authors have it."""
    return image if image.size == (side, side) else image.resize((side, side), BICUBIC)


def centred(image: Image.Image, side: int) -> Image.Image:
    """The square in the middle, after the short side became `side`: HERO's features of frames."""
    short = min(image.size)
    width, height = (int(side * length / short) for length in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), BICUBIC)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.crop((left, top, left + side, top + side))


def normalised(
    images: Sequence[Image.Image], mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    """n pictures of one size -> (n, 3, height, width): (value in 0..1 - mean) / std."""
    stacked = np.stack([np.asarray(image, dtype=np.uint8) for image in images])
    values = torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255
    return (values - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
