"""Ladder Side-Tuning (Sung et al., 2022, https://arxiv.org/abs/2206.06522).

Beside the frozen backbone stands a narrow network of its kind, with a layer for each of its layers.
The backbone reads the text alone; pictures enter the side network only:

    s_0 = P_0(e),  s_i = Side_i(g_i s_(i-1) + (1 - g_i) P_i(h_i)),  logits = head(U(s_n))

e: what enters the first layer, [text, vision] in the encoder, the answer so far in the decoder;
h_i: the backbone's states behind layer i, zero where vision is; g_i = sigmoid(alpha_i / 0.1). The
side decoder reads the side encoder. No gradient reaches the backbone's states, so none of its
activations is kept for the backward pass. The side layers start random or pruned (pruning.py);
the P_i and U start as torch makes them.

T5's side network has position biases of its own. On BART, which the authors do not have, the side
layers are narrow BART layers, and s_0 passes an embedding norm of its own.

Shapes: B batch, L text tokens, S all encoder tokens, C hidden size, D = C / reduction.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from vlbench.backbones.base import states
from vlbench.backbones.narrow import narrow_config, narrow_stacks
from vlbench.backbones.sites import Side
from vlbench.cards.checking import Checked
from vlbench.errors import UsageError
from vlbench.techniques.base import BatchLoss, Technique
from vlbench.techniques.ladder import BesideDecoder, Gate, Ladder, Sum
from vlbench.techniques.pruning import importances, prune

if TYPE_CHECKING:
    from vlbench.backbones.base import Backbone


class LSTParams(Checked):
    """Parameters of Ladder Side-Tuning."""

    reduction: int = Field(default=4, ge=1)
    """Every width of the backbone divided by this, rounded down, is the side network's."""
    gates: Literal["learned", "fixed", "none"] = "learned"
    """g_i: learned, constant where they would start, or none: s_(i-1) + P_i(h_i)."""
    alpha: float = 0.0
    """Where alpha_i starts; 0 is a gate of one half."""
    temperature: float = Field(default=0.1, gt=0)
    """What alpha_i is divided by."""
    initialisation: Literal["random", "pruned"] = "pruned"
    """The side layers' first weights: new ones, or those of the backbone that pruning leaves."""
    samples: int = Field(default=1024, ge=1)
    """Training examples that pruning sums squared gradients over."""


class LST(Technique):
    """A side network that trains in the backbone's place."""

    Params: ClassVar[type[Checked]] = LSTParams
    composes = False  # what else trained in the backbone would bring its activations back
    only_once = "the side network walks along its layers, and keeps little anyway"
    params: LSTParams

    def check(self, backbone: Backbone) -> None:
        """Every width must leave one."""
        self.reduced_width(backbone)

    def reduced_width(self, backbone: Backbone) -> int:
        """D."""
        return int(narrow_config(backbone, self.params.reduction).d_model)

    def claims(self, backbone: Backbone) -> set[str]:
        """All sites: it takes the place of the whole forward pass."""
        return {site.name for site in backbone.sites()}

    def attach(self, backbone: Backbone) -> None:
        """Both ladders and the way back to the backbone's width."""
        with torch.device(backbone.table.device):
            stacks = narrow_stacks(backbone, self.params.reduction)
            self.encoder = self._ladder(backbone, "encoder", stacks["encoder"])
            self.decoder = self._ladder(backbone, "decoder", stacks["decoder"])
            self.up = nn.Linear(self.reduced_width(backbone), backbone.width)
        self._tables = [
            table
            for ladder in (self.encoder, self.decoder)
            for table in backbone.position_tables(ladder.stack)
        ]
        backbone.encoding = partial(self.encode, backbone)
        self._beside = BesideDecoder(backbone, self.decoder, self.up)

    def _ladder(self, backbone: Backbone, side: Side, stack: nn.Module) -> Ladder:
        params = self.params
        if params.gates == "none":
            return Ladder(backbone, side, stack, Sum)
        gate = partial(Gate, params.alpha, params.temperature, params.gates == "learned")
        return Ladder(backbone, side, stack, gate)

    def encode(self, backbone: Backbone, text: Tensor, vision: Tensor, mask: Tensor) -> Tensor:
        """States of the backbone, text only, and of the side encoder, side by side: (B, S, C + D).

        What enters is detached from the pictures, so that no gradient goes through the backbone.
        """
        length = self._beside.text = text.shape[1]
        ladder, stack = self.encoder, backbone.stack("encoder")
        hidden = backbone.enter(text, vision)
        h, s = hidden[:, :length].detach(), ladder.begin(hidden)
        own = backbone.encoder_inputs(stack, h, length, mask[:, :length])
        side = backbone.encoder_inputs(ladder.stack, s, length, mask)
        for number, layer in enumerate(backbone.layers("encoder")):
            h = states(layer(h, **own))
            s = states(ladder.layer(number)(ladder.fuse(number, s, h), **side))
        h, s = backbone.leave(stack, h), backbone.leave(ladder.stack, s)
        h = functional.pad(h, (0, 0, 0, vision.shape[1]))  # (B, S, C)
        return torch.cat([h, s], dim=-1)

    def trained(self, backbone: Backbone, norms: bool) -> list[nn.Module | nn.Parameter]:
        """The side network and the visual embedding; no gradient reaches the backbone's norms."""
        if norms:
            raise UsageError(
                "train.norms: lst sends no gradient into the backbone, so its norms cannot train. "
                "Set train.norms=false."
            )
        return super().trained(backbone, norms)

    def undecayed(self) -> list[nn.Parameter]:
        """The side network's position biases."""
        return self._tables

    def start(self, backbone: Backbone, batches: Iterable[BatchLoss]) -> None:
        """Initialise the side layers from the backbone, by pruning, where the card says so."""
        if self.params.initialisation == "pruned":
            found = importances(backbone, batches, self.params.samples)
            prune(backbone, found, {"encoder": self.encoder.stack, "decoder": self.decoder.stack})
