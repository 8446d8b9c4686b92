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


@contextmanager
def counted_only(output: nn.Module, mask: Tensor) -> Iterator[None]:
    """While it lasts `output` reads the states (B, T, C) where mask (B, T) is True: (K, C).

    `output` is the output layer as it is now: a technique may have put another in its place.
    """

    def choose(module: nn.Module, inputs: tuple[Any, ...]) -> Tensor:
        hidden: Tensor = inputs[0]
        return hidden[mask]

    handle = output.register_forward_pre_hook(choose, prepend=True)
    try:
        yield
    finally:
        handle.remove()
