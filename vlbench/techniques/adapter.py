"""Adapters (Houlsby et al., 2019, https://arxiv.org/abs/1902.00751), as VL-Adapter places them.

Adapter(u) = u + Up(gelu(Down(u))), Down: C -> C / reduction, Up back, both with bias, at the
output of each attention and feed-forward. Sharing: weights of its own for each task, one set for
all, or half of it shared (`up`: one Up and own Downs; `down`: the other way).

On BART the reference code initialises both halves N(0, 0.02^2) with zero bias, so an adapter
starts near the identity, not at it; on T5 they stay as torch made them, far from it. There is no
scaling factor and no norm of its own.

Low-rank adapters (a baseline of Mahabadi et al., 2021, https://arxiv.org/abs/2106.04647): Down and
Up are y = x L R + b, L: (in, rank), R: (rank, out). L and R start Xavier-uniform with gain sqrt(2)
on every backbone, b at zero; b decays in the reference code. The reference codes build the matrix
L R first, which is more work; LST's multiplies L and R element by element, the same at rank 1 only.

Shapes: B batch, T tokens, C hidden size, R bottleneck width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from math import sqrt
from typing import ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from vlbench.backbones.base import SUBLAYERS, Backbone, CurrentTask, Site
from vlbench.cards.schema import Checked
from vlbench.errors import UsageError, nearest
from vlbench.techniques.base import Technique

SHARED = "all"
"""Name of a half that all tasks share."""


class BottleneckParams(Checked):
    """Parameters that all bottlenecks have."""

    reduction: int = Field(default=8, ge=1)
    """The hidden size divided by this, rounded down, is the bottleneck's width."""


def reduced_width(width: int, reduction: int, name: str = "the hidden size") -> int:
    """width // reduction, as in all of the reference codes; UsageError where nothing is left."""
    if reduction > width:
        raise UsageError(
            f"params.reduction={reduction} leaves nothing of {name}, {width}: should be no larger."
        )
    return width // reduction


def owners(sharing: str, tasks: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return who has a Down and who an Up: every task, or `SHARED` alone."""
    downs = tasks if sharing in ("task", "up") else (SHARED,)
    ups = tasks if sharing in ("task", "down") else (SHARED,)
    return downs, ups


class PerTask(nn.Module):
    """A layer for each task, or one for all of them; applies that of the current task."""

    def __init__(
        self, make: Callable[[], nn.Module], tasks: Sequence[str], current_task: CurrentTask
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({task: make() for task in tasks})
        self.current_task = current_task

    def of(self, task: str) -> nn.Module:
        """Return the layer of `task`, or the one that all share."""
        task = SHARED if SHARED in self.layers else task
        if task not in self.layers:
            raise UsageError(f"No weights for task '{task}'. {nearest(task, self.layers)}")
        return self.layers[task]

    def forward(self, *x: Tensor) -> Tensor:
        """Apply the current task's layer; the others get no gradient."""
        return cast(Tensor, self.of(self.current_task.name)(*x))


class Bottleneck(nn.Module):
    """The module at one site."""

    def __init__(self, down: PerTask, up: PerTask) -> None:
        super().__init__()
        self.down = down
        self.up = up

    def forward(self, u: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        low = functional.gelu(self.down(u), approximate="tanh")  # (B, T, R)
        return u + cast(Tensor, self.up(low))


class AtSublayers(Technique):
    """Something narrow behind each attention and feed-forward, before dropout and the residual."""

    Params: ClassVar[type[Checked]] = BottleneckParams
    params: BottleneckParams

    def claims(self, backbone: Backbone) -> list[Site]:
        return [site for site in backbone.sites() if site.kind in SUBLAYERS]

    def check(self, backbone: Backbone) -> None:
        self.reduced_width(backbone)

    def reduced_width(self, backbone: Backbone) -> int:
        return reduced_width(backbone.width, self.params.reduction)


class Bottlenecks(AtSublayers):
    """A bottleneck of two layers, which a subclass makes."""

    sharings: ClassVar[frozenset[str]] = frozenset({"task", "all", "up", "down"})

    @abstractmethod
    def layer(self, width_in: int, width_out: int) -> nn.Module:
        """A fresh Down or Up, as torch makes it where the technique does not say otherwise."""

    def attach(self, backbone: Backbone) -> None:
        downs, ups = owners(self.sharing, self.tasks)
        width, low = backbone.width, self.reduced_width(backbone)
        self.sites = nn.ModuleDict()
        for site in self.claims(backbone):
            with torch.device(backbone.token_embedding.device):
                down = PerTask(
                    partial(self._new, backbone, width, low), downs, backbone.current_task
                )
                up = PerTask(partial(self._new, backbone, low, width), ups, backbone.current_task)
            bottleneck = Bottleneck(down, up)
            self.sites[site.name] = bottleneck
            site.on_output(bottleneck)

    def _new(self, backbone: Backbone, width_in: int, width_out: int) -> nn.Module:
        layer = self.layer(width_in, width_out)
        backbone.initialise(layer)
        return layer


class Adapter(Bottlenecks):
    """Bottlenecks of two linear layers."""

    def layer(self, width_in: int, width_out: int) -> nn.Module:
        return nn.Linear(width_in, width_out)


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
