"""Pictures as tokens: pooling of the feature grid and the visual embedding (Sung et al., 2022).

embedding = norm(Linear(features)) + norm(Linear(box and area)) + image index + object index

Shapes: B batch, I images of an example, N tokens of an image, F feature width, C hidden size.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlbench.errors import UsageError

MAX_IMAGES = 2
"""Rows of the image-index table: NLVR2 has two pictures, every other task one."""


def downsample(features: Tensor, tokens: int) -> Tensor:
    """Adaptive max pool of each image's square grid: (B, I, N, F) -> (B, I, tokens, F)."""
    batch, images, n, width = features.shape
    if n == tokens:
        return features
    side, target = isqrt(n), isqrt(tokens)
    if side * side != n or target * target != tokens or n < tokens:
        raise UsageError(
            f"Features of {n} tokens an image cannot be pooled to {tokens}: "
            "both must be square grids, the first the larger."
        )
    grid = features.reshape(batch * images, side, side, width).permute(0, 3, 1, 2)  # (B I, F, s, s)
    pooled = functional.adaptive_max_pool2d(grid, target)  # (B I, F, t, t)
    return pooled.flatten(2).transpose(1, 2).reshape(batch, images, tokens, width)


class VisualEmbedding(nn.Module):
    """Feature, place, image index and object index, summed; no norm or dropout over the sum.

    The object index is looked up in the token table itself, from its last row backwards
    (`<vis_extra_id_0>` is the last row), and starts again with each image.
    """

    def __init__(self, feature_width: int, width: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.feature_width = feature_width
        self.feature = nn.Sequential(nn.Linear(feature_width, width), norm(width))
        self.place = nn.Sequential(nn.Linear(5, width), norm(width))
        self.image = nn.Embedding(MAX_IMAGES, width)

    def read_width(self, width: int) -> nn.Module:
        """Begin anew with features of another encoder; returns their projection, as made."""
        table = self.image.weight
        projection = nn.Linear(width, table.shape[1], device=table.device)
        self.feature_width, self.feature[0] = width, projection
        return projection

    def forward(self, features: Tensor, table: Tensor, boxes: Tensor | None = None) -> Tensor:
        """(B, I, N, F), token table (V, C), boxes (B, I, N, 4) as x1, x2, y1, y2 -> (B, I N, C).

        No boxes means zero boxes, which is what CLIP features come with.
        """
        batch, images, n, width = features.shape
        if width != self.feature_width or images > MAX_IMAGES:
            raise UsageError(
                f"The visual embedding takes (B, <={MAX_IMAGES}, N, {self.feature_width}) "
                f"features, found {tuple(features.shape)}."
            )
        weight = self.image.weight
        if boxes is None:
            boxes = features.new_zeros(1, 1, 1, 4)
        boxes = boxes.to(weight.dtype)
        x1, x2, y1, y2 = boxes.unbind(-1)
        area = (x2 - x1) * (y2 - y1)
        place = self.place(torch.cat([boxes, area.unsqueeze(-1)], dim=-1))  # (B, I, N, C)
        image = weight[:images, None]  # (I, 1, C)
        objects = table[table.shape[0] - n :].flip(0)  # (N, C)
        summed: Tensor = self.feature(features.to(weight.dtype)) + place + image + objects
        return summed.reshape(batch, images * n, -1)
