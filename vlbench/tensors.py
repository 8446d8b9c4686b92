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
    faults = [f"missing {name}" for name in own.keys() - tensors.keys()]
    faults += [f"unknown {name}" for name in tensors.keys() - own.keys()]
    for name in own.keys() & tensors.keys():
        ours, theirs = tuple(own[name].shape), tuple(tensors[name].shape)
        if ours != theirs:
            faults.append(f"{name} has shape {theirs}, expected {ours}")
    if faults:
        text = "; ".join(sorted(faults)[:8]) + ("; ..." if len(faults) > 8 else "")
        raise MissingError(f"{source}: the weights do not fit this model: {text}")
    for name, tensor in own.items():
        tensor.copy_(tensors[name])
