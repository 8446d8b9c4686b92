"""Low-rank adapters (a baseline of Mahabadi et al., 2021, https://arxiv.org/abs/2106.04647).

Adapters whose Down and Up are y = x L R + b, L: (in, rank), R: (rank, out). L and R start
Xavier-uniform with gain sqrt(2) on every backbone, b at zero; b decays in the reference code.

The reference codes build the matrix L R first, which is more work; LST's multiplies L and R
element by element, the same at rank 1 only.
"""

from __future__ import annotations

from math import sqrt
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from vlbench.cards.schema import Checked
from vlbench.techniques.bottleneck import BottleneckParams, Bottlenecks


class LowRankParams(BottleneckParams):
    """Parameters of low-rank adapters."""

    rank: int = Field(default=1, ge=1)
    """Rank of both layers' matrices."""


class LowRankLinear(nn.Module):
    """A linear layer whose matrix is a product of two thin ones."""

    def __init__(self, width_in: int, width_out: int, rank: int) -> None:
        super().__init__()
        left, right = torch.empty(width_in, rank), torch.empty(rank, width_out)
        self.left = nn.Parameter(nn.init.xavier_uniform_(left, gain=sqrt(2.0)))
        self.right = nn.Parameter(nn.init.xavier_uniform_(right, gain=sqrt(2.0)))
        self.b = nn.Parameter(torch.zeros(width_out))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, in) -> (B, T, out)."""
        return x @ self.left @ self.right + self.b


class LowRankAdapter(Bottlenecks):
    """Bottlenecks of two low-rank layers."""

    Params: ClassVar[type[Checked]] = LowRankParams
    params: LowRankParams

    def layer(self, width_in: int, width_out: int) -> nn.Module:
        return LowRankLinear(width_in, width_out, self.params.rank)
