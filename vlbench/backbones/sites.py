"""Attachment points of a backbone: where techniques change what flows.

Per layer and side the outputs of self-attention, cross-attention and feed-forward, and the query,
key and value projections of each attention; then the text as it enters the encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vlbench.errors import UsageError

Kind = Literal[
    "self_attention",
    "cross_attention",
    "feed_forward",
    "query",
    "key",
    "value",
    "encoder_input",
]
Side = Literal["encoder", "decoder"]

SIDES: tuple[Side, ...] = ("encoder", "decoder")
"""In the order of the forward pass."""

SUBLAYERS: frozenset[Kind] = frozenset({"self_attention", "cross_attention", "feed_forward"})
"""Kinds whose output is a sub-layer's output: (B, T, C), before dropout and the residual sum."""
PROJECTIONS: frozenset[Kind] = frozenset({"query", "key", "value"})
"""Kinds whose output is a projection's: (B, T, C_out), before it is split into heads."""

Change = Callable[[Tensor], Tensor]
ChangeWithInput = Callable[[Tensor, Tensor], Tensor]
"""`change(entered, output)`: what entered the site, then its output; both may have one shape."""


class Site(NamedTuple):
    """One attachment point; its name has no dots, so it can name a module."""

    name: str
    kind: Kind
    side: Side
    layer: int
    module: nn.Module
    """The module whose output is the site."""
    entry: nn.Module
    """The module whose first input is what enters the site: the residual stream of a sub-layer
    before any norm, the input of a projection."""
    sublayer: Kind
    """The sub-layer it belongs to: for a projection its attention, else its own kind."""
    width_in: int
    """Width of what enters."""
    width: int
    """Width of the output."""

    def on_output(self, change: Change) -> RemovableHandle:
        """Replace the site's output by `change(output)`, whatever the module returns around it."""
        return self.module.register_forward_hook(OutputHook(change))

    def on_passage(self, change: ChangeWithInput) -> list[RemovableHandle]:
        """Forward hook with the input: replace the output by `change(entered, output)`.

        UsageError where the names of its parameters say that it takes them the other way round.
        """
        names = _parameters(change)
        if names[:1] == ["output"] or names[1:2] == ["entered"]:
            raise UsageError(
                f"on_passage calls change(entered, output); this one is change({', '.join(names)})."
            )
        hook = _InputOutputHook(change)
        return [
            self.entry.register_forward_pre_hook(hook.keep_input, with_kwargs=True),
            self.on_output(hook.change_output),
        ]


def _parameters(change: ChangeWithInput) -> list[str]:
    """Return the names of its parameters; none where it has no signature."""
    try:
        return list(signature(change).parameters)
    except (TypeError, ValueError):
        return []


class OutputHook:
    """A forward hook; an object and no closure, so a copied model's hooks are its own."""

    def __init__(self, change: Change) -> None:
        self.change = change

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        """The module's output, changed; of a tuple the first."""
        if isinstance(output, tuple):
            return (self.change(output[0]), *output[1:])
        return self.change(output)


class _InputOutputHook:
    """Keeps the site's input until its output is computed."""

    def __init__(self, change: ChangeWithInput) -> None:
        self.change = change
        self.entered: list[Tensor] = []

    def keep_input(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.entered = [inputs[0] if inputs else next(iter(named.values()))]

    def change_output(self, output: Tensor) -> Tensor:
        return self.change(self.entered.pop(), output)


class SublayerSpec(NamedTuple):
    """A sub-layer of a backbone and the paths of its modules within a layer."""

    side: Side
    kind: Kind
    path: str
    """Of the module whose output it is."""
    entry: str
    """Of the module that the residual stream enters."""
    projections: dict[Kind, str]
    """Of an attention's projections; none for a feed-forward."""
    order: tuple[tuple[str, ...], ...]
    """Of its linear layers and its norm in the order of the forward pass; those in one tuple read
    the same input. What a layer does not have is left out."""


class ArchitectureSpec(NamedTuple):
    """How the encoder and decoder stacks of a backbone are built, to build narrower ones."""

    widths: tuple[str, ...]
    """The configuration's widths: divided alike they make a narrower model of the same depth."""
    heads: tuple[str, ...]
    """The configuration's numbers of heads that must divide the hidden size."""
    embeddings: tuple[str, ...]
    """A stack's embeddings."""
    layers: str
    """A stack's list of layers."""
    first_norm: str
    """A stack's norm of what enters its first layer; empty where it has none."""
    last_norm: str
    """A stack's norm of what leaves its last layer; empty where it has none."""


class CurrentTask:
    """The task of the current batch; the backbone sets it, techniques read it."""

    def __init__(self) -> None:
        self.name = ""
        self.batches = 0
        """How many batches have been encoded; for what is built once a batch."""

    def enter(self, task: str) -> None:
        """Begin a batch of `task`."""
        self.name = task
        self.batches += 1


class EncoderInput(nn.Module):
    """The text's embeddings and mask as they enter the encoder; prompts attach here.

    They may come out longer: what is put in front passes through the embedding norm.
    """

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[Callable[[tuple[Tensor, Tensor]], tuple[Tensor, Tensor]]] = []

    def on_entry(self, change: Callable[[tuple[Tensor, Tensor]], tuple[Tensor, Tensor]]) -> None:
        """Replace what enters, embeddings and mask, by `change` of it."""
        self.changes.append(change)

    def forward(self, embeddings: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, C), (B, L) -> the same, or longer."""
        entered = (embeddings, mask)
        for change in self.changes:
            entered = change(entered)
        return entered
