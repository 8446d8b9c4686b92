"""State dicts as the authors' code saves them, from models of ours."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vlbench.backbones import build_backbone
from vlbench.cards import load_method
from vlbench.checkpoints.authors import authors_names, spelt
from vlbench.techniques import resolve_method
from vlbench.techniques.adapt import AdaptedModel, adapt
from vlbench.tensors import unique_state


def mini_model(method: str, folder: Path, tasks: tuple[str, ...], seed: int = 7) -> AdaptedModel:
    """A method on the mini backbone in `folder`, every tensor drawn anew."""
    torch.manual_seed(seed)
    card = resolve_method(load_method(method), "mini-bart", "+".join(tasks))
    model = adapt(build_backbone("mini-bart", folder), card, tasks)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)
    return model


def their_state(model: AdaptedModel, tasks: tuple[str, ...]) -> dict[str, Tensor]:
    """All names of all tensors, as `state_dict` has them."""
    own = unique_state(model)
    return {
        theirs: own[name.ours].detach()[name.rows].clone()
        for name in authors_names(model, spelt(tasks))
        for theirs in name.theirs
    }
