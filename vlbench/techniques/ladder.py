"""The ladders of a side network, and how the decoder's walks along the backbone's decoder.

Shapes: B batch, L text tokens, S all encoder tokens, T tokens, C hidden size, D the narrow one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.cache_utils import Cache, DynamicLayer, EncoderDecoderCache

from vlbench.backbones.base import states
from vlbench.backbones.narrow import anatomy

if TYPE_CHECKING:
    from vlbench.backbones.base import Backbone
    from vlbench.backbones.sites import Side


class Gate(nn.Module):
    """g s + (1 - g) rung with g = sigmoid(alpha / temperature), alpha learned or constant."""

    def __init__(self, alpha: float, temperature: float, is_learned: bool) -> None:
        super().__init__()
        self.temperature = temperature
        start = torch.full((1,), alpha)
        self.alpha = nn.Parameter(start) if is_learned else nn.Buffer(start)

    def forward(self, s: Tensor, rung: Tensor) -> Tensor:
        """(B, T, D), (B, T, D) -> (B, T, D)."""
        gate = torch.sigmoid(self.alpha / self.temperature)
        return gate * s + (1 - gate) * rung


class Sum(nn.Module):
    """No gate: s + rung."""

    def forward(self, s: Tensor, rung: Tensor) -> Tensor:
        """(B, T, D), (B, T, D) -> (B, T, D)."""
        return s + rung


class Ladder(nn.Module):
    """A narrow stack and what joins it to the backbone's: an entrance, a rung and gate a layer."""

    def __init__(
        self, backbone: Backbone, side: Side, stack: Any, gate: Callable[[], nn.Module]
    ) -> None:
        super().__init__()
        self.stack = stack
        width = stack.config.d_model
        depth = len(backbone.layers(side))
        self.entrance = nn.Linear(backbone.width, width)
        self.rungs = nn.ModuleList(nn.Linear(backbone.width, width) for _ in range(depth))
        self.gates = nn.ModuleList(gate() for _ in range(depth))
        self.anatomy = anatomy(backbone)

    def layer(self, number: int) -> nn.Module:
        """A side layer."""
        layer: nn.Module = self.stack.get_submodule(f"{self.anatomy.layers}.{number}")
        return layer

    def begin(self, hidden: Tensor) -> Tensor:
        """s_0 of what enters the backbone's first layer: (B, T, C) -> (B, T, D)."""
        s: Tensor = self.entrance(hidden)
        if self.anatomy.first_norm:
            s = self.stack.get_submodule(self.anatomy.first_norm)(s)
        return s

    def fuse(self, number: int, s: Tensor, h: Tensor) -> Tensor:
        """s (B, T, D) with the backbone's states h (B, L <= T, C) behind its layer `number`."""
        rung = self.rungs[number](h)
        rung = functional.pad(rung, (0, 0, 0, s.shape[1] - rung.shape[1]))
        fused: Tensor = self.gates[number](s, rung)
        return fused


class SideCache(DynamicLayer):  # type: ignore[no-untyped-call]
    """A side layer's keys and values; kept in the backbone's own cache, so beams reorder it."""


@dataclass
class Walk:
    """A forward pass of the decoder, under way."""

    encoded: Tensor
    """States of the side encoder, (B, S, D)."""
    mask: Tensor
    """(B, S), 1 where the side decoder may read."""
    s: Tensor | None = None
    """States of the side decoder, (B, T, D)."""
    inputs: dict[str, Any] = field(default_factory=dict)
    """What each of its layers reads beside them."""


class BesideDecoder:
    """Walks a ladder along a backbone's decoder, whoever calls that: training or generation.

    The decoder is called with the states of the backbone and of the side encoder side by side,
    (B, S, C + D). Each of its layers is followed by the side layer; at the end the side's states,
    widened by `up`, stand in the place of its own.
    """

    def __init__(self, backbone: Backbone, ladder: Ladder, up: nn.Module) -> None:
        self.backbone = backbone
        self.ladder = ladder
        self.up = up
        self.text = 0
        """How many encoder tokens are text, in the batch that was encoded last."""
        self.walk: Walk | None = None
        stack, layers = backbone.stack("decoder"), backbone.layers("decoder")
        stack.register_forward_pre_hook(self.split, with_kwargs=True)
        layers[0].register_forward_pre_hook(self.begin, with_kwargs=True)
        for number, layer in enumerate(layers):
            layer.register_forward_hook(partial(self.climb, number))
        stack.register_forward_hook(self.end)

    def split(self, stack: nn.Module, inputs: Any, named: dict[str, Any]) -> Any:
        """Give the backbone its own states of the text; keep the side's."""
        both, mask = named["encoder_hidden_states"], named["encoder_attention_mask"]
        width = self.backbone.width
        if both.shape[-1] == width:
            self.walk = None  # the backbone reads alone
            return None
        self.walk = Walk(both[..., width:], mask)
        own = both[:, : self.text, :width].detach()
        given = {"encoder_hidden_states": own, "encoder_attention_mask": mask[:, : self.text]}
        return inputs, {**named, **given}

    def begin(self, layer: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Any]) -> None:
        """s_0, of what enters the backbone's first layer."""
        walk = self.walk
        if walk is not None:
            walk.s = self.ladder.begin(inputs[0])
            cache = side_cache(named["past_key_values"], len(self.ladder.rungs))
            walk.inputs = self.backbone.decoder_inputs(
                self.ladder.stack, walk.s, walk.encoded, walk.mask, cache
            )

    def climb(self, number: int, layer: nn.Module, inputs: Any, output: Any) -> None:
        """The side layer, behind the backbone's."""
        walk = self.walk
        if walk is not None and walk.s is not None:
            fused = self.ladder.fuse(number, walk.s, states(output))
            walk.s = states(self.ladder.layer(number)(fused, **walk.inputs))

    def end(self, stack: nn.Module, inputs: Any, output: Any) -> Any:
        """The side's states in place of the backbone's."""
        walk, self.walk = self.walk, None
        if walk is not None and walk.s is not None:
            output.last_hidden_state = self.up(self.backbone.leave(self.ladder.stack, walk.s))
        return output


def side_cache(cache: Any, depth: int) -> EncoderDecoderCache | None:
    """The part of the decoder's cache that holds `depth` side layers; made where it is not yet."""
    if cache is None:
        return None
    parts = []
    for part in (cache.self_attention_cache, cache.cross_attention_cache):
        kept = [layer for layer in part.layers if isinstance(layer, SideCache)]
        if not kept:
            kept = [SideCache() for _ in range(depth)]  # type: ignore[no-untyped-call]
            part.layers.extend(kept)
        parts.append(Cache(layers=list(kept)))
    return EncoderDecoderCache(*parts)
