"""VL-PET (Hu et al., ICCV 2023, https://arxiv.org/abs/2308.09804): gated adapters, encoder first.

Encoder, at each attention and feed-forward with residual input x and output h:
D = Up(gelu(Down(h))), out = scale G (h + D). Decoder: values of the cross-attention alone,
V + Up(gelu(Down(m))) from the encoder's states m. One set of weights for all tasks.

G, by granularity: large: sigmoid(U gelu(D x)), (B, T, C); middle-x: sigmoid(w (x + h + D)),
(B, T, 1); middle-y: 1 + g, (C); small: the mean over all tokens, padding and pictures included,
of sigmoid(w [x; h + D]), (B, 1, 1).

The reference code stores Down in `heads` pieces, which together are one linear layer, as here. On
BART it starts with G about 1/2 (middle-y: about 1); on T5 its scripts set `scale` to 0.3 and the
last layer of every bottleneck and gate to zero. They zero middle-y's g there too, which here starts
at N(0, 0.02^2) on every backbone. The norms of the encoder train, those of the decoder do not.

Shapes: B batch, T tokens, S encoder tokens, C hidden size, R bottleneck width.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from vlbench.backbones.base import Backbone, Site
from vlbench.backbones.encoder_decoder import with_encoder
from vlbench.cards.checking import Checked
from vlbench.errors import UsageError
from vlbench.techniques.base import Technique

INIT_STD = 0.02
NEEDS = "vl_pet gates an encoder's outputs and adapts what a decoder reads of them"


class VLPETParams(Checked):
    """Parameters of VL-PET."""

    granularity: Literal["small", "middle-x", "middle-y", "large"] = "large"
    """How finely outputs are gated."""
    width: int = Field(default=96, ge=1)
    """Width of the encoder's bottlenecks."""
    gate_width: int = Field(default=96, ge=1)
    """Width of the bottleneck that makes the gate, where granularity is large."""
    value_width: int = Field(default=96, ge=1)
    """Width of the bottlenecks at the decoder's values."""
    heads: int = Field(default=4, ge=1)
    """Pieces in which the reference code stores an encoder's Down; changes nothing else."""
    scale: float = Field(default=1.0, gt=0)
    """Factor of every gated output."""
    zero_initialised: bool = False
    """Whether the last layer of every bottleneck and gate starts at zero."""


class Bottleneck(nn.Module):
    """Up(gelu(Down(u))), with gelu's tanh form."""

    def __init__(self, width_in: int, low: int, width_out: int) -> None:
        super().__init__()
        self.down = nn.Linear(width_in, low)
        self.up = nn.Linear(low, width_out)

    def forward(self, u: Tensor) -> Tensor:
        """(B, T, C_in) -> (B, T, C_out)."""
        low = functional.gelu(self.down(u), approximate="tanh")  # (B, T, R)
        return cast(Tensor, self.up(low))


class Gate(nn.Module):
    """G, from the residual input x and the adapted output y."""

    def __init__(self, width: int, params: VLPETParams) -> None:
        super().__init__()
        self.granularity = params.granularity
        if self.granularity == "small":
            self.of_both = nn.Linear(2 * width, 1)
        elif self.granularity == "middle-x":
            self.of_sum = nn.Linear(width, 1)
        elif self.granularity == "middle-y":
            self.g = nn.Parameter(torch.randn(width) * INIT_STD)
        else:
            self.down = nn.Linear(width, params.gate_width)
            self.up = nn.Linear(params.gate_width, width)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Two (B, T, C) -> what multiplies y: the shapes are at the top."""
        if self.granularity == "small":
            of_x, of_y = self.of_both.weight.chunk(2, dim=1)  # (1, C) both: x, y are not copied
            scores = functional.linear(x, of_x) + functional.linear(y, of_y, self.of_both.bias)
            return torch.sigmoid(scores).mean(dim=1, keepdim=True)
        if self.granularity == "middle-x":
            return torch.sigmoid(self.of_sum(x + y))
        if self.granularity == "middle-y":
            return 1 + self.g
        return torch.sigmoid(self.up(functional.gelu(self.down(x), approximate="tanh")))


LAST_LAYERS = {"up", "of_sum", "of_both"}
"""Names of the last layers of bottlenecks and gates."""


class Gated(nn.Module):
    """The module at one sub-layer of the encoder."""

    def __init__(self, width: int, params: VLPETParams) -> None:
        super().__init__()
        self.bottleneck = Bottleneck(width, params.width, width)
        self.gate = Gate(width, params)
        self.scale = params.scale

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Residual input and output of the sub-layer, (B, T, C) -> (B, T, C)."""
        y = h + self.bottleneck(h)
        return cast(Tensor, self.scale * self.gate(x, y) * y)


class Value(nn.Module):
    """The module at one value projection of the decoder."""

    def __init__(self, site: Site, width: int) -> None:
        super().__init__()
        self.bottleneck = Bottleneck(site.width_in, width, site.width)

    def forward(self, m: Tensor, v: Tensor) -> Tensor:
        """Encoder states (B, S, C) and their values (B, S, C_out) -> (B, S, C_out)."""
        return v + cast(Tensor, self.bottleneck(m))


class VLPET(Technique):
    """Gated bottlenecks in the encoder, plain ones at the decoder's cross-attention values."""

    Params: ClassVar[type[Checked]] = VLPETParams
    params: VLPETParams

    def claims(self, backbone: Backbone) -> list[Site]:
        """Sub-layers of the encoder, then values of the decoder's cross-attention."""
        kinds = ("self_attention", "feed_forward")
        sites = backbone.sites()
        encoder = [site for site in sites if site.side == "encoder" and site.kind in kinds]
        values = [s for s in sites if (s.kind, s.sublayer) == ("value", "cross_attention")]
        return encoder + values

    def check(self, backbone: Backbone) -> None:
        with_encoder(backbone, NEEDS)
        heads, width = self.params.heads, self.params.width
        if width % heads:
            raise UsageError(f"params.heads={heads} does not divide params.width={width}.")

    def attach(self, backbone: Backbone) -> None:
        self.sites = nn.ModuleDict()
        for site in self.claims(backbone):
            self.sites[site.name] = (
                Value(site, self.params.value_width)
                if site.kind == "value"
                else Gated(site.width, self.params)
            )
        backbone.initialise(self)
        if self.params.zero_initialised:  # bottlenecks add nothing, sigmoid gates are one half
            for name, module in self.named_modules():
                if name.rpartition(".")[2] in LAST_LAYERS:
                    layer: Any = module
                    nn.init.zeros_(layer.weight)
                    nn.init.zeros_(layer.bias)
        for site in self.claims(backbone):
            site.on_passage(self.sites[site.name])

    def trained(self, backbone: Backbone, norms: bool) -> list[nn.Module | nn.Parameter]:
        """The encoder's norms alone, where the card says norms."""
        return [self, *(with_encoder(backbone, NEEDS).norms("encoder") if norms else [])]
