"""The floor: the backbone stays frozen, the visual embedding alone trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from vlbench.techniques.base import Technique

if TYPE_CHECKING:
    from vlbench.backbones.base import Backbone


class Frozen(Technique):
    """Adds nothing and trains what every technique trains: the visual embedding."""

    def attach(self, backbone: Backbone) -> None:
        """Nothing to attach."""

    def trained(self, backbone: Backbone, norms: bool) -> list[nn.Module | nn.Parameter]:
        """The visual embedding, whatever the card says of norms."""
        return [backbone.visual]
