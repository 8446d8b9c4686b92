"""The gates of VL-PET (Hu et al., ICCV 2023), coarse to fine, and its plain bottleneck.

A gate reads x, the residual stream that enters a sub-layer, and y, what would come out of it.

Shapes: B batch, T tokens, C hidden size, R bottleneck width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

INIT_STD = 0.02

Granularity = Literal["small", "middle-x", "middle-y", "large"]


class Bottleneck(nn.Module):
    """Up(gelu(Down(u))), with gelu's tanh form."""

    def __init__(self, width_in: int, low: int, width_out: int) -> None:
        super().__init__()
        self.down = nn.Linear(width_in, low)
        self.up = nn.Linear(low, width_out)

    def forward(self, u: Tensor) -> Tensor:
        """(B, T, C_in) -> (B, T, C_out)."""
        low = functional.gelu(self.down(u), approximate="tanh")  # (B, T, R)
        output: Tensor = self.up(low)
        return output


class Small(nn.Module):
    """A gate per example: the mean over all tokens, padding and pictures included."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_both = nn.Linear(2 * width, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Two (B, T, C) -> (B, 1, 1): the mean of sigmoid(w [x; y] + b)."""
        of_x, of_y = self.of_both.weight.chunk(2, dim=1)  # each (1, C): x and y are not copied
        scores = functional.linear(x, of_x) + functional.linear(y, of_y, self.of_both.bias)
        return torch.sigmoid(scores).mean(dim=1, keepdim=True)


class MiddleX(nn.Module):
    """A gate per token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_sum = nn.Linear(width, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Two (B, T, C) -> (B, T, 1): sigmoid(w (x + y) + b)."""
        return torch.sigmoid(self.of_sum(x + y))


class MiddleY(nn.Module):
    """A gate per channel, which reads nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.randn(width) * INIT_STD)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """-> (C): 1 + g."""
        return 1 + self.g


class Large(Bottleneck):
    """A gate per token and channel, from x alone."""

    def __init__(self, width: int, low: int) -> None:
        super().__init__(width, low, width)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """(B, T, C) -> (B, T, C): sigmoid(Up(gelu(Down(x))))."""
        return torch.sigmoid(super().forward(x))


def new_gate(granularity: Granularity, width: int, low: int) -> nn.Module:
    """A gate of outputs of this width; `low` is the width of its bottleneck, where it has one."""
    if granularity == "large":
        return Large(width, low)
    kinds = {"small": Small, "middle-x": MiddleX, "middle-y": MiddleY}
    return kinds[granularity](width)


def zero_outputs(module: nn.Module) -> None:
    """Set the last layer of every bottleneck and gate to zero; a gate without layers keeps its g.

    Bottlenecks then add nothing, and gates that end in a sigmoid are one half.
    """
    for each in module.modules():
        last = _last_layer(each)
        if last is not None:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)


def _last_layer(module: nn.Module) -> nn.Linear | None:
    if isinstance(module, Bottleneck):
        return module.up
    if isinstance(module, Small):
        return module.of_both
    return module.of_sum if isinstance(module, MiddleX) else None
