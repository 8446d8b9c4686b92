"""Bottlenecks at the sub-layers' outputs: u + Up(gelu(Down(u))), with halves shared or not.

Shapes: B batch, T tokens, C hidden size, R bottleneck width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from vlbench.backbones.sites import SUBLAYERS, CurrentTask, Site
from vlbench.cards.checking import Checked
from vlbench.errors import UsageError, nearest
from vlbench.techniques.base import Technique

if TYPE_CHECKING:
    from vlbench.backbones.base import Backbone

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
    """A layer for each task, or one for all of them."""

    def __init__(self, make: Callable[[], nn.Module], tasks: Sequence[str]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({task: make() for task in tasks})

    def of(self, task: str) -> nn.Module:
        """Return the layer of `task`, or the one that all share."""
        layers = self.layers
        if SHARED in layers:
            task = SHARED
        if task not in layers:
            raise UsageError(f"No weights for task '{task}'. {nearest(task, layers)}")
        return layers[task]

    def forward(self, x: Tensor, task: str) -> Tensor:
        """Apply the layer of `task`; the others get no gradient."""
        output: Tensor = self.of(task)(x)
        return output


class Bottleneck(nn.Module):
    """The module at one site."""

    def __init__(self, down: PerTask, up: PerTask) -> None:
        super().__init__()
        self.down = down
        self.up = up

    def forward(self, u: Tensor, task: str) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        low = functional.gelu(self.down(u, task), approximate="tanh")  # (B, T, R)
        output: Tensor = u + self.up(low, task)
        return output


class Bottlenecks(Technique):
    """A bottleneck behind every attention and feed-forward, before dropout and the residual sum."""

    Params: ClassVar[type[Checked]] = BottleneckParams
    sharings: ClassVar[frozenset[str]] = frozenset({"task", "all", "up", "down"})
    params: BottleneckParams

    def bottleneck_width(self, width: int) -> int:
        """C -> R."""
        return reduced_width(width, self.params.reduction)

    def subsites(self, backbone: Backbone) -> list[Site]:
        """Return the sites of a bottleneck."""
        return [site for site in backbone.sites() if site.kind in SUBLAYERS]

    def claims(self, backbone: Backbone) -> set[str]:
        return {site.name for site in self.subsites(backbone)}

    def check(self, backbone: Backbone) -> None:
        for width in {site.width for site in self.subsites(backbone)}:
            self.bottleneck_width(width)

    def reduced_width(self, backbone: Backbone) -> int | None:
        return self.bottleneck_width(backbone.width)

    @abstractmethod
    def layer(self, width_in: int, width_out: int) -> nn.Module:
        """A fresh Down or Up, as torch makes it where the technique does not say otherwise."""

    def attach(self, backbone: Backbone) -> None:
        downs, ups = owners(self.sharing, self.tasks)
        self.sites = nn.ModuleDict()
        for site in self.subsites(backbone):
            low = self.bottleneck_width(site.width)
            with torch.device(backbone.token_embedding.device):
                down = PerTask(partial(self._new, backbone, site.width, low), downs)
                up = PerTask(partial(self._new, backbone, low, site.width), ups)
            bottleneck = Bottleneck(down, up)
            self.sites[site.name] = bottleneck
            site.on_output(partial(_of_current_task, bottleneck, backbone.current_task))

    def _new(self, backbone: Backbone, width_in: int, width_out: int) -> nn.Module:
        layer = self.layer(width_in, width_out)
        backbone.initialise(layer)
        return layer


def _of_current_task(bottleneck: Bottleneck, current_task: CurrentTask, u: Tensor) -> Tensor:
    output: Tensor = bottleneck(u, current_task.name)
    return output
