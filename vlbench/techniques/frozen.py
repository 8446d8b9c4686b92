"""The floor: the backbone stays frozen, the visual embedding alone trains, or its norms too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlbench.techniques.base import Technique

if TYPE_CHECKING:
    from vlbench.backbones.base import Backbone


class Frozen(Technique):
    """Adds nothing and trains what every technique may train: visual embedding and norms."""

    def attach(self, backbone: Backbone) -> None:
        """Nothing to attach."""
