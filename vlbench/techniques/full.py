"""Full fine-tuning: every parameter of the backbone trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from vlbench.techniques.base import Technique

if TYPE_CHECKING:
    from vlbench.backbones.base import Backbone


class Full(Technique):
    """Adds nothing; trains all, the token table and the norms included."""

    def attach(self, backbone: Backbone) -> None:
        """Nothing to attach."""

    def trained(self, backbone: Backbone, norms: bool) -> list[nn.Module | nn.Parameter]:
        """The whole backbone, whatever the card says of norms."""
        return [backbone]
