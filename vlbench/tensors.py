"""Tensors by name: a model's tensors, each once, and copying values back into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from vlbench.errors import MissingError


def unique_state(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name; a tied tensor stands under its first name only."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of those that hold NaN or infinity."""
    return [name for name, tensor in tensors.items() if not tensor.isfinite().all()]


def listed(names: Sequence[str]) -> str:
    """The first of some tensors, and how many more there are, for a message."""
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return f"tensor '{names[0]}'{more}"


@torch.no_grad()
def copy_into(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy `tensors` into `own`, in place; every name and shape must fit, or nothing is copied."""
    ours, theirs = ({n: tuple(t.shape) for n, t in some.items()} for some in (own, tensors))
    faults = [
        f"{name} has shape {theirs.get(name, 'missing')}, expected {ours.get(name, 'unknown')}"
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    ]
    if faults:
        raise MissingError(f"{source}: the weights do not fit this model: {'; '.join(faults[:8])}")
    for name, tensor in own.items():
        tensor.copy_(tensors[name])
