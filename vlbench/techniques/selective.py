"""Techniques that choose what trains of the backbone: nothing, the projector, biases, all.

BitFit (Ben Zaken et al., 2021, https://arxiv.org/abs/2106.10199) trains the biases alone. BART has
biases in every linear layer and norm. T5 has none: there `missing` gives one, zero at the start,
to every linear layer and norm of both stacks, to the norms of the visual embedding and to the
output layer (untied), as the reference code of LST does. There and in VL-PET's, for BART, what
trains is chosen by its name; here by the module, so T5's table of position biases stays frozen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vlbench.backbones.base import Backbone, OutputHook
from vlbench.cards.checking import Checked
from vlbench.errors import UsageError
from vlbench.techniques.base import Technique


class ZeroShot(Technique):
    """The backbone as it is: nothing is added, nothing trains."""

    projector = False
    merges = True

    def attach(self, backbone: Backbone) -> None:
        return None

    def trained(self, backbone: Backbone, norms: bool) -> list[nn.Module | nn.Parameter]:
        return []


class Frozen(ZeroShot):
    """The baseline: nothing is added; the projector trains, and norms by the card."""

    projector = True

    def trained(self, backbone: Backbone, norms: bool) -> list[nn.Module | nn.Parameter]:
        return [*backbone.norms()] if norms else []


class Full(Frozen):
    """Full fine-tuning: all of the backbone trains, token embedding and norms included."""

    def trained(self, backbone: Backbone, norms: bool) -> list[nn.Module | nn.Parameter]:
        return backbone.tuned_in_full()


class BitFitParams(Checked):
    """Parameters of BitFit."""

    missing: bool = False
    """Whether linear layers and norms without a bias get one."""


class Bias(nn.Module):
    """A bias for a module that has none."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, y: Tensor) -> Tensor:
        """(..., width) -> the same."""
        return y + self.bias.to(y.dtype)


class BitFit(Technique):
    """Trains the backbone's biases and, by the card, adds those that are missing."""

    Params: ClassVar[type[Checked]] = BitFitParams
    starts_as_identity = True
    params: BitFitParams

    def __init__(self, params: BitFitParams, sharing: str, tasks: Sequence[str]) -> None:
        super().__init__(params, sharing, tasks)
        self.merges = not params.missing

    def check(self, backbone: Backbone) -> None:
        if not backbone.biases() and not self.params.missing:
            raise UsageError("This backbone has no biases: --set params.missing=true adds them.")

    def attach(self, backbone: Backbone) -> None:
        """Add the missing biases, each named by the path of its module, dashes for dots."""
        self.added = nn.ModuleDict()
        if not self.params.missing:
            return
        for path, module in backbone.linears_and_norms().items():
            if getattr(module, "bias", None) is None:
                layer: Any = module
                width = layer.out_features if isinstance(module, nn.Linear) else len(layer.weight)
                self.added[path.replace(".", "-")] = bias = Bias(width)
                module.register_forward_hook(OutputHook(bias))

    def trained(self, backbone: Backbone, norms: bool) -> list[nn.Module | nn.Parameter]:
        return [*super().trained(backbone, norms), *backbone.biases()]

    def undecayed(self) -> list[nn.Parameter]:
        return list(self.added.parameters())
