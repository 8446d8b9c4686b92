"""Small adapted models of random weights, for two tasks."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.techniques import toys
from tests.techniques.models import card
from tests.techniques.toys import ONE_LAYER, TASKS, toy_backbone
from vlbench.techniques.adapt import AdaptedModel, adapt

Toy = Callable[..., AdaptedModel]


def _adapted(kind: str) -> Toy:
    def make(**table: Any) -> AdaptedModel:
        backbone = toy_backbone(kind, **ONE_LAYER[kind])
        return adapt(backbone, card(**table), TASKS).eval()

    return make


@pytest.fixture
def toy() -> Toy:
    """`toy(technique=..., params=..., ...)`: a small BART adapted by that card."""
    return _adapted("bart")


@pytest.fixture
def toy_t5() -> Toy:
    """The same with a small T5."""
    return _adapted("t5")


@pytest.fixture
def toy_batch() -> SimpleNamespace:
    """A batch for them."""
    return toys.toy_batch()
