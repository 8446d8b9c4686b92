"""The output layer only where a label counts: it is the largest matrix, and most batches pad much.

Shapes: B batch, T target tokens, K of them count, C hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

IGNORED = -100
"""The target where there is nothing to predict."""


class CountedOnly:
    """Goes in front of an output layer; within `of` it lets through the chosen positions alone."""

    def __init__(self, output: nn.Module) -> None:
        self._mask: Tensor | None = None
        output.register_forward_pre_hook(self)

    @contextmanager
    def of(self, mask: Tensor) -> Iterator[None]:
        """The output layer reads the states (B, T, C) where mask (B, T) is True: (K, C)."""
        self._mask = mask
        try:
            yield
        finally:
            self._mask = None

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> Tensor | None:
        """What the output layer reads; None leaves it as it is."""
        if self._mask is None:
            return None
        hidden: Tensor = inputs[0]
        return hidden[self._mask]
