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

Compacter (the same paper): y = x H + b with H = sum_i A_i (x) W_i, A: (n, n, n) the rule,
W: (n, in/n, out/n). `factorized`: W_i = L_i R_i of rank `rank`. `shared_rule`: one A for all layers
of the model. The paper shares the rule and factorizes; VL-Adapter's scripts do neither and take
n = 2, which is the default here. H is built by one product: at each call, or once while answering.

Shapes: B batch, T tokens, C hidden size, R bottleneck width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import sqrt
from typing import ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from vlbench.backbones.base import SUBLAYERS, Backbone, CurrentTask, Site
from vlbench.cards.checking import Checked
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

    @property
    def current(self) -> nn.Module:
        """The current task's layer."""
        return self.of(self.current_task.name)

    def forward(self, *x: Tensor) -> Tensor:
        """Apply the current task's layer; the others get no gradient."""
        return cast(Tensor, self.current(*x))


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
        width, low, task = backbone.width, self.reduced_width(backbone), backbone.current_task
        self.sites = nn.ModuleDict()
        for site in self.claims(backbone):
            down = PerTask(partial(self._new, backbone, width, low), downs, task)
            up = PerTask(partial(self._new, backbone, low, width), ups, task)
            self.sites[site.name] = bottleneck = Bottleneck(down, up)
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
