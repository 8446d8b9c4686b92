"""What a technique is: modules that attach to a backbone's sites, and a list of what trains.

A technique knows no backbone by name: it hooks modules of its own to some of `backbone.sites()`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

from torch import Tensor, nn

from vlbench.backbones.base import Backbone, Batch, Site
from vlbench.cards.checking import Checked
from vlbench.errors import UsageError


class NoParams(Checked):
    """A technique without parameters."""


class Technique(nn.Module, ABC):
    """How a frozen backbone is adapted. Its own parameters are those of its submodules.

    A subclass names its `Params` and `sharings` and writes `attach`; the other methods are for
    techniques that need more than hooks.
    """

    Params: ClassVar[type[Checked]] = NoParams
    """The card's `[params]`; a field's docstring is its documentation."""
    sharings: ClassVar[frozenset[str]] = frozenset({"all"})
    """Whose weights a task may use: task (its own), all (one set), up or down (that half)."""
    composes: ClassVar[bool] = True
    """Whether it may stand beside another; False for what takes the whole forward pass."""
    projector: bool | None = None
    """Whether the projector (visual embedding) trains; None: as the card says."""
    starts_as_identity: ClassVar[bool] = False
    """Whether attaching leaves the backbone's outputs as they were; checked where True."""
    merges: bool = False
    """Whether `folded` puts all it does into the backbone's own weights: nothing is beside them."""
    only_once: ClassVar[str] = ""
    """Why a layer with its hooks may not be computed twice (activation checkpointing); or empty."""

    def __init__(self, params: Checked, sharing: str, tasks: Sequence[str]) -> None:
        super().__init__()
        if sharing not in self.sharings:
            known = ", ".join(sorted(self.sharings))
            raise UsageError(f"{type(self).__name__} cannot share '{sharing}'. Known: {known}.")
        self.params = params
        self.sharing = sharing
        self.tasks = tuple(tasks)

    def check(self, backbone: Backbone) -> None:
        """Raise UsageError where this technique cannot work on this backbone."""
        self.reduced_width(backbone)

    def reduced_width(self, backbone: Backbone) -> int | None:
        """The width that `params.reduction` leaves; None where there is no such parameter."""
        return None

    def claims(self, backbone: Backbone) -> list[Site]:
        """The sites it changes; two techniques with a site in common do not compose."""
        return []

    @abstractmethod
    def attach(self, backbone: Backbone) -> None:
        """Make the modules and hook them to the backbone's sites."""

    def trained(self, backbone: Backbone, norms: bool) -> list[nn.Module | nn.Parameter]:
        """What trains beside the projector; `norms` is the card's wish for the backbone's norms."""
        return [self, *(backbone.norms() if norms else [])]

    def undecayed(self) -> list[nn.Parameter]:
        """Parameters of its own, beside linear layers' biases, that are spared weight decay."""
        return []

    def start(self, backbone: Backbone, batches: Iterable[Batch]) -> None:
        """Initialise from training examples, one a batch, unless the run is resumed."""
        return None

    def folded(self, task: str) -> AbstractContextManager[None]:
        """Precompute, within the context, what answering needs; the same up to rounding."""
        return nullcontext()

    def penalty(self) -> Tensor | None:
        """A scalar that is added to each batch's loss."""
        return None

    def stepped(self, number: int, total: int) -> None:
        """Called after each optimiser step, counted from 1; gradients are still there."""
        return None

    def training_state(self) -> dict[str, Any]:
        """What a resumed run needs of it beside the trained tensors; tensors and plain values."""
        return {}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Resume from what `training_state` returned."""
        return None
