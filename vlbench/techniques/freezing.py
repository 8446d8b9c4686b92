"""What stays frozen is proven by a checksum; what trains is all that is saved."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import torch
from torch import Tensor, nn

from vlbench.tensors import copy_into, unique_state


def frozen_checksum(model: nn.Module) -> str:
    """sha256 over the names and bytes of every buffer and every parameter that does not train."""
    digest = sha256()
    for name, tensor in unique_state(model).items():
        if tensor.requires_grad:
            continue
        data = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {data.dtype} {tuple(data.shape)}\n".encode())
        digest.update(data.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that train, by name, each once."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """The trained tensors by name, as they are saved."""
    return {name: p.detach().contiguous() for name, p in trained_parameters(model).items()}


def load_trained_state(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy saved tensors into a model of the same card; names and shapes must fit."""
    copy_into(trained_parameters(model), tensors, source)
