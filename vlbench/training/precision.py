"""Frozen weights in bf16 while a model trains in bf16.

Autocast keeps its copies only of weights that need a gradient: those that need none it casts anew
at every step, and each copy waits for the backward pass. Cast once they give the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def frozen_in_bf16(model: nn.Module) -> Iterator[None]:
    """While it lasts, the weights of frozen linear layers are bf16; then they are as before.

    A weight that an embedding has too stays, as what is looked up in it is not cast, and so do
    those that peft's layers wrap, which look at them themselves.
    """
    looked_up = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    before: dict[nn.Parameter, torch.Tensor] = {}
    for name, module in model.named_modules():
        is_own = type(module) is nn.Linear and not name.endswith(".base_layer")
        if is_own and not module.weight.requires_grad and module.weight not in looked_up:
            before[module.weight] = module.weight.data
    for weight, data in before.items():
        weight.data = data.bfloat16()
    try:
        yield
    finally:
        for weight, data in before.items():
            weight.data = data
