"""Hyperformer (Mahabadi et al., 2021, https://arxiv.org/abs/2106.04489): generated adapters.

z = LN(W2 relu(W1 [task; layer] + b1) + b2), weight = reshape(Wg z + bg), bias = Wh z + bh: for
each side, kind of sub-layer and direction a hypernetwork makes an adapter's weights from a vector
per task and one per layer. `one_hypernetwork`: one up and one down a side, which also read a
vector of the kind. VL-Adapter runs the former, without the published layer norms.

Shapes: N layers of a side, D width of the vectors, E width of z, C hidden size, R bottleneck width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from vlbench.backbones.base import Backbone, Kind, Side, Site
from vlbench.cards.checking import Checked
from vlbench.errors import UsageError, nearest
from vlbench.techniques.adapter import AtSublayers, BottleneckParams

INIT_STD = 0.01
KINDS: tuple[Kind, ...] = ("feed_forward", "self_attention", "cross_attention")
"""In the order of the table of kinds."""


class HyperformerParams(BottleneckParams):
    """Parameters of Hyperformer."""

    dim: int = Field(default=8, ge=1)
    """E: the width of z, from which all weights are made."""
    task_dim: int = Field(default=512, ge=1)
    """Width of the vectors of tasks, layers and kinds."""
    hidden: int = Field(default=128, ge=1)
    """Width between the projector's two layers."""
    one_hypernetwork: bool = False
    """Whether one pair of hypernetworks serves all kinds of a side."""


AdapterWeights = tuple[Tensor, Tensor, Tensor, Tensor]
"""Down (R, C), its bias (R), Up (C, R), its bias (C)."""
AdaptersOfSide = dict[Kind, list[AdapterWeights]]
"""Kind -> its adapters, layer by layer."""


class HyperNetwork(nn.Module):
    """Makes one direction's weight and bias."""

    def __init__(self, dim: int, rows: int, columns: int) -> None:
        super().__init__()
        self.weight = nn.Linear(dim, rows * columns)
        self.bias = nn.Linear(dim, rows)
        self.shape = (rows, columns)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(N, E) -> (N, rows, columns), (N, rows)."""
        return self.weight(z).unflatten(-1, self.shape), self.bias(z)


class Controller(nn.Module):
    """Makes the adapters of one side, those of all layers at once."""

    def __init__(
        self, params: HyperformerParams, layers: int, kinds: Sequence[Kind], width: int, low: int
    ) -> None:
        super().__init__()
        self.kinds = tuple(kinds)
        self.layers = nn.Embedding(layers, params.task_dim)
        self.types = nn.Embedding(len(KINDS), params.task_dim) if params.one_hypernetwork else None
        parts, names = (3, ["any"]) if self.types else (2, [*kinds])
        self.projector = nn.Sequential(
            nn.Linear(parts * params.task_dim, params.hidden),
            nn.ReLU(),
            nn.Linear(params.hidden, params.dim),
        )
        self.norm = nn.LayerNorm(params.dim, eps=1e-6)
        self.down = nn.ModuleDict({n: HyperNetwork(params.dim, low, width) for n in names})
        self.up = nn.ModuleDict({n: HyperNetwork(params.dim, width, low) for n in names})
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=INIT_STD)
                nn.init.zeros_(module.bias)

    def forward(self, task: Tensor) -> AdaptersOfSide:
        """A task's vector (D) -> the adapters of every kind in all layers."""
        if self.types is None:
            z = self._z(task)
            return {kind: self._make(kind, z) for kind in self.kinds}
        types = self.types.weight
        return {
            kind: self._make("any", self._z(task, types[KINDS.index(kind)])) for kind in self.kinds
        }

    def _z(self, task: Tensor, *kind: Tensor) -> Tensor:
        layers = self.layers.weight  # (N, D)
        known = [vector.expand_as(layers) for vector in (task, layers, *kind)]
        return cast(Tensor, self.norm(self.projector(torch.cat(known, dim=-1))))  # (N, E)

    def _make(self, name: str, z: Tensor) -> list[AdapterWeights]:
        all_layers = (*self.down[name](z), *self.up[name](z))
        # not indexed: the gradient of each index would be as large as all layers' weights
        return list(zip(*(weights.unbind() for weights in all_layers), strict=True))


class OfBatch(dict[Side, tuple[object, AdaptersOfSide]]):
    """Side -> the current batch's key and adapters; a copied model makes its own."""

    def __deepcopy__(self, memo: object) -> OfBatch:
        return OfBatch()


class Hyperformer(AtSublayers):
    """Adapters behind every attention and feed-forward, made by hypernetworks."""

    Params: ClassVar[type[Checked]] = HyperformerParams
    only_once = "the first layer makes the adapters of all"
    params: HyperformerParams

    def attach(self, backbone: Backbone) -> None:
        """Make a vector per task and a controller per side; hook every site."""
        params, sites, low = self.params, self.claims(backbone), self.reduced_width(backbone)
        self.of_batch, self.current_task = OfBatch(), backbone.current_task
        vectors = {task: nn.Parameter(torch.randn(params.task_dim)) for task in self.tasks}
        self.task_vectors = nn.ParameterDict(vectors)
        self.sides = nn.ModuleDict()
        for side in dict.fromkeys(site.side for site in sites):
            kinds = [k for k in KINDS if any((s.side, s.kind) == (side, k) for s in sites)]
            layers = len(backbone.layers(side))
            self.sides[side] = Controller(params, layers, kinds, backbone.width, low)
        backbone.initialise(self.sides)
        for site in sites:
            site.on_output(partial(self.adapted, site))

    def adapted(self, site: Site, u: Tensor) -> Tensor:
        """(B, T, C) -> u + Up(gelu(Down(u))) with the weights made for this site."""
        adapters = self._adapters(site.side, u.device.type)
        down, down_bias, up, up_bias = adapters[site.kind][site.layer]
        low = functional.gelu(functional.linear(u, down, down_bias), approximate="tanh")
        return u + functional.linear(low, up, up_bias)

    def _adapters(self, side: Side, device: str) -> AdaptersOfSide:
        """Return a side's adapters, made once for each batch that enters the backbone."""
        task = self.current_task.name
        is_cast = device != "meta" and torch.is_autocast_enabled(device)
        modes = (torch.is_grad_enabled(), is_cast)
        key = (self.current_task.batches, task, *modes)
        if side not in self.of_batch or self.of_batch[side][0] != key:
            if task not in self.task_vectors:
                raise UsageError(f"No weights for task '{task}'. {nearest(task, self.tasks)}")
            self.of_batch[side] = (key, self.sides[side](self.task_vectors[task]))
        return self.of_batch[side][1]

    def undecayed(self) -> list[nn.Parameter]:
        """The bias hypernetworks' weights and the norm's: the reference spares them by name."""
        biases = [m.bias.weight for m in self.modules() if isinstance(m, HyperNetwork)]
        norms = [m.norm.weight for m in self.modules() if isinstance(m, Controller)]
        return cast(list[nn.Parameter], biases + norms)
