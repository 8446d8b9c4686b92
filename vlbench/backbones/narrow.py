"""Stacks like a backbone's own, of the same depth and a fraction of its width.

Their layers are the library's, so paths, order and calling are those of the backbone's stacks.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from torch import nn

from vlbench.backbones.base import Backbone
from vlbench.backbones.sites import Anatomy, Side
from vlbench.errors import UsageError


def narrow_stacks(backbone: Backbone, reduction: int) -> dict[Side, nn.Module]:
    """A new encoder and decoder 1/reduction as wide, as the library initialises them.

    They have no embedding tables: what enters the first layer is given.
    """
    language: Any = type(backbone.language)(narrow_config(backbone, reduction))
    stacks: dict[Side, nn.Module] = {
        "encoder": language.get_encoder(),
        "decoder": language.get_decoder(),
    }
    for stack in stacks.values():
        for table in anatomy(backbone).tables:
            delattr(stack, table)
    return stacks


def reduced_width(width: int, reduction: int, name: str = "the hidden size") -> int:
    """width // reduction, as in all of the reference codes; UsageError where nothing is left."""
    if reduction > width:
        raise UsageError(
            f"params.reduction={reduction} leaves nothing of {name}, {width}: should be no larger."
        )
    return width // reduction


def narrow_config(backbone: Backbone, reduction: int) -> Any:
    """The configuration of the narrower model; UsageError where it cannot be that narrow."""
    config = deepcopy(backbone.config)
    for name in anatomy(backbone).widths:
        setattr(config, name, reduced_width(getattr(config, name), reduction, name))
    for name in anatomy(backbone).heads:
        heads = getattr(config, name)
        if config.d_model % heads:
            raise UsageError(
                f"params.reduction={reduction} leaves a hidden size of {config.d_model}, which "
                f"{name}={heads} does not divide."
            )
    special = (config.pad_token_id, config.eos_token_id, config.decoder_start_token_id)
    config.vocab_size = 1 + max(special)  # of a table that nobody reads
    return config


def anatomy(backbone: Backbone) -> Anatomy:
    """How the backbone's stacks are built; UsageError where it does not say."""
    if backbone.anatomy is None:
        raise UsageError(f"{type(backbone).__name__} does not say how to build a narrower one.")
    return backbone.anatomy


def first_norm(backbone: Backbone, stack: nn.Module) -> nn.Module:
    """A stack's norm of what enters its first layer, or none."""
    path = anatomy(backbone).first_norm
    return stack.get_submodule(path) if path else nn.Identity()


def chain(backbone: Backbone, side: Side) -> list[tuple[str, ...]]:
    """Paths of a stack's linear layers and norms in the order of the forward pass.

    Those in one tuple read the same input.
    """
    built = anatomy(backbone)
    found: list[tuple[str, ...]] = [(built.first_norm,)] if built.first_norm else []
    for i, layer in enumerate(backbone.layers(side)):
        paths = {path for path, _ in layer.named_modules()}
        for point in backbone.points:
            if point.side == side:
                found += [
                    tuple(f"{built.layers}.{i}.{path}" for path in group if path in paths)
                    for group in point.chain
                ]
    return [*found, (built.last_norm,)] if built.last_norm else found
