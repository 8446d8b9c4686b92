"""Parameters, counted by identity: a tied tensor once, however many names it has."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from vlbench.techniques.adapt import AdaptedModel

DENOMINATOR = (
    "the adapted model with its visual embedding and added tokens, tied tensors once, "
    "without the image encoder"
)


class Group(NamedTuple):
    """Numbers of one part of the model."""

    trainable: int
    total: int


class Counts(NamedTuple):
    """What trains, of how much, by group; the groups add up to the whole."""

    trainable: int
    total: int
    groups: dict[str, Group]
    denominator: str = DENOMINATOR

    @property
    def percent(self) -> float:
        """100 x trainable / total."""
        return 100 * self.trainable / self.total


def count(model: AdaptedModel) -> Counts:
    """Count a model's parameters; works on the meta device."""
    backbone = model.backbone
    parts: dict[str, list[nn.Parameter]] = {
        "technique": list(model.technique.parameters()),
        "visual embedding": list(backbone.visual.parameters()),
        "norms": [p for norm in backbone.norms() for p in norm.parameters()],
        "biases": backbone.biases(),
        "token table": [backbone.table],
        "rest of the backbone": list(backbone.parameters()),
    }
    seen: set[nn.Parameter] = set()
    groups = {}
    for name, parameters in parts.items():
        fresh = set(parameters) - seen
        seen |= fresh
        trainable = sum(p.numel() for p in fresh if p.requires_grad)
        groups[name] = Group(trainable, sum(p.numel() for p in fresh))
    return Counts(
        trainable=sum(group.trainable for group in groups.values()),
        total=sum(group.total for group in groups.values()),
        groups=groups,
    )
