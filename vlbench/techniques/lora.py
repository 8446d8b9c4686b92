"""Low-rank adaptation (Hu et al., 2021, https://arxiv.org/abs/2106.09685).

y = W0 x + (alpha / rank) B A dropout(x), A: (rank, in), B: (out, rank), at the query and value
projections of every attention; B = 0 at the start, so it starts as the frozen layer. Weights of
its own for each task, one pair for all, or half of the pair shared (`up`: one B, own As).

The reference code also frees every bias of the backbone, one set for all tasks, those of BART's
norms among them (`biases`). VL-Adapter adds no LoRA to T5, silently; this is LST's there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, Literal, cast, get_args

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from vlbench.backbones.base import Backbone, Site
from vlbench.cards.checking import Checked
from vlbench.errors import UsageError
from vlbench.techniques.adapter import PerTask, owners
from vlbench.techniques.base import Technique

Target = Literal["query", "key", "value", "output", "feed_forward_in", "feed_forward_out"]


class LoRAParams(Checked):
    """Parameters of LoRA."""

    rank: int = Field(default=128, ge=1)
    """Rank of the update."""
    alpha: float = Field(default=32, gt=0)
    """The update is scaled by alpha / rank."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout of what enters the update."""
    biases: bool = True
    """Whether the backbone's biases train too."""
    targets: tuple[Target, ...] = Field(("query", "value"), min_length=1)
    """The linear layers that are updated: of every attention, or of a decoder's feed-forwards."""


class Update(nn.Module):
    """What is added to one projection's output; zero at the start."""

    def __init__(self, down: PerTask, up: PerTask, scale: float, dropout: float) -> None:
        super().__init__()
        self.down = down
        self.up = up
        self.scale = scale
        self.dropout = dropout
        self.is_folded = False

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x (B, T, in) and the frozen layer's y (B, T, out) -> y with the update."""
        if self.is_folded:
            return y
        if self.training and self.dropout:
            down = cast(nn.Linear, self.down.current)
            low = DroppedLinear.apply(x, down.weight, self.dropout)  # type: ignore[no-untyped-call]
        else:
            low = self.down(x)  # (B, T, rank)
        return y + cast(Tensor, self.up(self.scale * low))


class DroppedLinear(torch.autograd.Function):
    """A dropout(x), whose backward pass works dropout(x) out again instead of keeping it.

    It keeps x, which the query, key and value have in common, and a mask of booleans.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dropout: float) -> Tensor:
        mask = torch.empty_like(x).bernoulli_(1 - dropout).bool()
        ctx.save_for_backward(x, weight, mask)
        ctx.kept = 1 - dropout
        return functional.linear(x * mask / ctx.kept, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, mask = ctx.saved_tensors
        (grad,) = grads
        dropped = (x * mask / ctx.kept).to(grad.dtype)
        grad_weight = grad.flatten(0, -2).T @ dropped.flatten(0, -2)
        grad_x = (grad @ weight.to(grad.dtype)) * mask / ctx.kept
        return grad_x.to(x.dtype), grad_weight.to(weight.dtype), None


class LoRA(Technique):
    """A low-rank update of every query and value projection."""

    Params: ClassVar[type[Checked]] = LoRAParams
    sharings: ClassVar[frozenset[str]] = frozenset({"task", "all", "up", "down"})
    starts_as_identity = True
    merges = True
    params: LoRAParams

    def check(self, backbone: Backbone) -> None:
        kinds = {site.kind for site in backbone.sites()}
        if absent := [target for target in self.params.targets if target not in kinds]:
            known = ", ".join(kind for kind in get_args(Target) if kind in kinds)
            raise UsageError(
                f"params.targets: this backbone has no site '{absent[0]}'. Known: {known}."
            )

    def claims(self, backbone: Backbone) -> list[Site]:
        return [site for site in backbone.sites() if site.kind in self.params.targets]

    def attach(self, backbone: Backbone) -> None:
        downs, ups = owners(self.sharing, self.tasks)
        rank, scale = self.params.rank, self.params.alpha / self.params.rank
        self.sites = nn.ModuleDict()
        self._projections: dict[str, Any] = {}  # the frozen ones; a dict does not register them
        for site in self.claims(backbone):
            self._projections[site.name] = site.module
            new_down = partial(nn.Linear, site.width_in, rank, bias=False)
            down = PerTask(new_down, downs, backbone.current_task)
            up = PerTask(partial(_zero, rank, site.width), ups, backbone.current_task)
            self.sites[site.name] = update = Update(down, up, scale, self.params.dropout)
            site.on_passage(update)

    @contextmanager
    def folded(self, task: str) -> Iterator[None]:
        """Hold W0 + scale B A in the frozen layers' own weights within the context."""
        frozen = {name: projection.weight.data for name, projection in self._projections.items()}
        updates = {  # of fewer bits the sum would lose the update, or cannot be written
            name: cast(Update, update)
            for name, update in self.sites.items()
            if frozen[name].dtype == torch.float32
        }
        try:
            for name, update in updates.items():
                halves = update.down.of(task), update.up.of(task)
                a, b = (cast(nn.Linear, half).weight.detach() for half in halves)
                folded = torch.addmm(frozen[name], b, a, alpha=update.scale)
                self._projections[name].weight.data = folded
                update.is_folded = True
            yield
        finally:
            for name, update in updates.items():
                self._projections[name].weight.data = frozen[name]
                update.is_folded = False

    def trained(self, backbone: Backbone, norms: bool) -> list[nn.Module | nn.Parameter]:
        biases = backbone.biases() if self.params.biases else []
        return [*super().trained(backbone, norms), *biases]


def _zero(width_in: int, width_out: int) -> nn.Linear:
    linear = nn.Linear(width_in, width_out, bias=False)
    nn.init.zeros_(linear.weight)
    return linear
