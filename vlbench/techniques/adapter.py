"""Adapters (Houlsby et al., 2019, https://arxiv.org/abs/1902.00751), as VL-Adapter places them.

Adapter(u) = u + Up(gelu(Down(u))), Down: C -> C / reduction, Up back, both with bias, at the
output of each attention and feed-forward. Sharing: weights of its own for each task, one set for
all, or half of it shared (`up`: one Up and own Downs; `down`: the other way).

On BART the reference code initialises both halves N(0, 0.02^2) with zero bias, so an adapter
starts near the identity, not at it; on T5 they stay as torch made them, far from it. There is no
scaling factor and no norm of its own.
"""

from __future__ import annotations

from torch import nn

from vlbench.techniques.bottleneck import Bottlenecks


class Adapter(Bottlenecks):
    """Bottlenecks of two linear layers."""

    def layer(self, width_in: int, width_out: int) -> nn.Module:
        return nn.Linear(width_in, width_out)
