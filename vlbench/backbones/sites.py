"""Attachment points of a backbone: where techniques change what flows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Kind = Literal["self_attention", "cross_attention", "feed_forward", "encoder_input"]
Side = Literal["encoder", "decoder"]

SUBLAYERS: frozenset[Kind] = frozenset({"self_attention", "cross_attention", "feed_forward"})
"""Kinds whose output is a sub-layer's output: (B, T, C), before dropout and the residual sum."""


class Site(NamedTuple):
    """One attachment point; its name has no dots, so it can name a module."""

    name: str
    kind: Kind
    side: Side
    layer: int
    module: nn.Module
    """The module whose output is the site."""
    width: int

    def on_output(self, change: Callable[[Tensor], Tensor]) -> RemovableHandle:
        """Replace the site's output by `change(output)`, whatever the module returns around it."""

        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            if isinstance(output, tuple):
                return (change(output[0]), *output[1:])
            return change(output)

        return self.module.register_forward_hook(hook)


class Point(NamedTuple):
    """A row of a backbone's table: a kind of site and where each layer keeps its module."""

    side: Side
    kind: Kind
    path: str


class Router:
    """Says which task the current batch belongs to; the backbone sets it, techniques read it."""

    def __init__(self) -> None:
        self.task = ""


class EncoderInput(nn.Module):
    """The text's embeddings and mask as they enter the encoder; prompts attach here by a hook.

    A hook may return longer ones: what it puts in front passes through the embedding norm.
    """

    def forward(self, embeddings: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, C), (B, L) -> the same."""
        return embeddings, mask
