"""Compacter (Mahabadi et al., 2021, https://arxiv.org/abs/2106.04647): adapters of Kronecker sums.

Down and Up are y = x H + b with H = sum_i A_i (x) W_i, A: (n, n, n) the rule, W: (n, in/n, out/n).
`factorized`: W_i = L_i R_i of rank `rank`. `shared_rule`: one A for all layers of the model.

The paper shares the rule and factorizes; VL-Adapter's scripts do neither and take n = 2, which is
the default here. H is built by one product: at each call, or once within `answering()`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import sqrt
from typing import ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from vlbench.backbones.base import Backbone
from vlbench.cards.schema import Checked
from vlbench.errors import UsageError
from vlbench.techniques.adapter import Bottleneck, BottleneckParams, Bottlenecks


class CompacterParams(BottleneckParams):
    """Parameters of Compacter."""

    division: int = Field(default=2, ge=1)
    """n: into how many parts both widths are divided."""
    shared_rule: bool = False
    """Whether all layers use one A."""
    factorized: bool = False
    """Whether each W_i is a product of two thin matrices."""
    rank: int = Field(default=1, ge=1)
    """Rank of that product."""
    init_range: float = Field(default=0.01, ge=0)
    """A starts as N(0, init_range^2)."""


class KroneckerLinear(nn.Module):
    """A linear layer whose matrix is a sum of Kronecker products."""

    def __init__(self, width_in: int, width_out: int, params: CompacterParams, rule: nn.Parameter):
        super().__init__()
        n = params.division
        self.widths = width_in, width_out
        self.rule = rule
        self.b = nn.Parameter(torch.zeros(width_out))  # decayed by the reference, unlike a bias
        self.is_factorized = params.factorized
        if params.factorized:
            self.left = xavier(n, width_in // n, params.rank)
            self.right = xavier(n, params.rank, width_out // n)
        else:
            self.w = xavier(n, width_in // n, width_out // n)
        self.folded: Tensor | None = None
        """H, while answering."""

    def matrix(self) -> Tensor:
        """H, (in, out)."""
        w = self.left @ self.right if self.is_factorized else self.w
        n, rows, columns = w.shape
        h = self.rule.flatten(1).mT @ w.flatten(1)  # (n n, in/n out/n)
        h = h.view(n, n, rows, columns).transpose(1, 2)  # (n, in/n, n, out/n)
        return h.reshape(self.widths)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, in) -> (B, T, out)."""
        h = self.matrix() if self.folded is None else self.folded
        return functional.linear(x, h.mT, self.b)


class Compacter(Bottlenecks):
    """Bottlenecks of two Kronecker layers."""

    Params: ClassVar[type[Checked]] = CompacterParams
    params: CompacterParams

    def reduced_width(self, backbone: Backbone) -> int:
        """Both widths must divide by n."""
        width, low = backbone.width, super().reduced_width(backbone)
        for divided in (width, low):
            if divided % self.params.division:
                raise UsageError(
                    f"params.division={self.params.division} does not divide the width {divided} "
                    f"(hidden size {width}, params.reduction={self.params.reduction})."
                )
        return low

    def attach(self, backbone: Backbone) -> None:
        """Make a shared rule first, so that it is saved once, under its own name."""
        if self.params.shared_rule:
            with torch.device(backbone.token_embedding.device):
                self.rule = self._new_rule()
        super().attach(backbone)

    def layer(self, width_in: int, width_out: int) -> nn.Module:
        rule = self.rule if self.params.shared_rule else self._new_rule()
        return KroneckerLinear(width_in, width_out, self.params, rule)

    def _new_rule(self) -> nn.Parameter:
        n = self.params.division
        return nn.Parameter(torch.randn(n, n, n) * self.params.init_range)

    @contextmanager
    def folded(self, task: str) -> Iterator[None]:
        bottlenecks = [cast(Bottleneck, module) for module in self.sites.values()]
        halves = [half.of(task) for b in bottlenecks for half in (b.down, b.up)]
        layers = [cast(KroneckerLinear, half) for half in halves]
        try:
            with torch.no_grad():
                for layer in layers:
                    layer.folded = layer.matrix()
            yield
        finally:
            for layer in layers:
                layer.folded = None


def xavier(n: int, rows: int, columns: int) -> nn.Parameter:
    """n matrices, each Xavier-uniform with gain sqrt(2) on its own."""
    bound = sqrt(2.0) * sqrt(6.0 / (rows + columns))
    return nn.Parameter(torch.empty(n, rows, columns).uniform_(-bound, bound))
