"""Narrower stacks of a backbone's own kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.techniques.toys import GATED, toy_backbone
from vlbench.backbones.sites import SIDES
from vlbench.techniques.lst import narrow_stacks
from vlbench.techniques.pruning import layer_order


@pytest.mark.parametrize(
    ("kind", "sizes"), [("bart", {}), ("t5", {}), ("t5", GATED)], ids=["bart", "t5", "gated"]
)
def test_the_layer_order_names_every_linear_layer_and_norm_once(
    kind: str, sizes: dict[str, Any]
) -> None:
    backbone = toy_backbone(kind, **sizes)
    kinds = (nn.Linear, backbone.norm_type)
    for side in SIDES:
        paths = [path for group in layer_order(backbone, side) for path in group]
        modules = dict(backbone.stack(side).named_modules())
        assert len(paths) == len(set(paths))
        assert set(paths) == {path for path, each in modules.items() if isinstance(each, kinds)}


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_a_narrow_stack_has_the_backbones_layers_and_a_fraction_of_their_widths(kind: str) -> None:
    backbone = toy_backbone(kind)
    stacks = narrow_stacks(backbone, 4)
    for side in SIDES:
        own = dict(backbone.stack(side).named_parameters())
        narrow = dict(stacks[side].named_parameters())
        assert own.keys() - narrow.keys() <= {"embed_tokens.weight", "embed_positions.weight"}
        tables = {id(table) for table in backbone.position_biases(stacks[side])}
        for name, parameter in narrow.items():
            expected = own[name].shape
            if id(parameter) not in tables:
                expected = torch.Size(size // 4 for size in expected)
            assert parameter.shape == expected, name
