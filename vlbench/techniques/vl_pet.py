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
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from vlbench.backbones.sites import Site
from vlbench.cards.checking import Checked
from vlbench.errors import UsageError
from vlbench.techniques.base import Technique
from vlbench.techniques.vl_pet_gates import Bottleneck, Granularity, new_gate, zero_outputs

if TYPE_CHECKING:
    from vlbench.backbones.base import Backbone

ENCODER_KINDS = ("self_attention", "feed_forward")


class VLPETParams(Checked):
    """Parameters of VL-PET."""

    granularity: Granularity = "large"
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


class Gated(nn.Module):
    """The module at one sub-layer of the encoder."""

    def __init__(self, width: int, params: VLPETParams) -> None:
        super().__init__()
        self.bottleneck = Bottleneck(width, params.width, width)
        self.gate = new_gate(params.granularity, width, params.gate_width)
        self.scale = params.scale

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Residual input and output of the sub-layer, (B, T, C) -> (B, T, C)."""
        y = h + self.bottleneck(h)
        gate = self.gate(x, y)
        if self.scale != 1:
            gate = self.scale * gate  # of the two factors the smaller tensor
        output: Tensor = gate * y
        return output


class Value(nn.Module):
    """The module at one value projection of the decoder."""

    def __init__(self, site: Site, width: int) -> None:
        super().__init__()
        self.bottleneck = Bottleneck(site.width_in, width, site.width)

    def forward(self, m: Tensor, v: Tensor) -> Tensor:
        """Encoder states (B, S, C) and their values (B, S, C_out) -> (B, S, C_out)."""
        output: Tensor = v + self.bottleneck(m)
        return output


class VLPET(Technique):
    """Gated bottlenecks in the encoder, plain ones at the decoder's cross-attention values."""

    Params: ClassVar[type[Checked]] = VLPETParams
    params: VLPETParams

    def encoder_sites(self, backbone: Backbone) -> list[Site]:
        """Sub-layers of the encoder."""
        sites = [site for site in backbone.sites() if site.side == "encoder"]
        return [site for site in sites if site.kind in ENCODER_KINDS]

    def value_sites(self, backbone: Backbone) -> list[Site]:
        """Value projections of the decoder's cross-attention."""
        sites = [site for site in backbone.sites() if site.kind == "value"]
        return [site for site in sites if site.sublayer == "cross_attention"]

    def claims(self, backbone: Backbone) -> set[str]:
        """Both."""
        return {site.name for site in self.encoder_sites(backbone) + self.value_sites(backbone)}

    def check(self, backbone: Backbone) -> None:
        """The reference's pieces of Down must be equal."""
        if self.params.width % self.params.heads:
            raise UsageError(
                f"params.heads={self.params.heads} does not divide "
                f"params.width={self.params.width}."
            )

    def attach(self, backbone: Backbone) -> None:
        """One module a site, named after it."""
        encoder, values = self.encoder_sites(backbone), self.value_sites(backbone)
        self.sites = nn.ModuleDict()
        with torch.device(backbone.table.device):
            for site in encoder:
                self.sites[site.name] = Gated(site.width, self.params)
            for site in values:
                self.sites[site.name] = Value(site, self.params.value_width)
        backbone.initialise(self)
        if self.params.zero_initialised:
            zero_outputs(self)
        for site in encoder + values:
            site.on_passage(partial(_called, self.sites[site.name]))

    def trained(self, backbone: Backbone, norms: bool) -> list[nn.Module | nn.Parameter]:
        """The encoder's norms alone, where the card says norms."""
        return [backbone.visual, self, *(backbone.norms("encoder") if norms else [])]


def _called(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    output: Tensor = module(x, y)
    return output
