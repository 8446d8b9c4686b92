"""Frozen picture encoders, pictures in, features out: a table; nothing heavy is imported."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from vlbench.errors import UsageError, nearest

ENCODERS = {"mini": "vlbench.encoders.mini:MiniEncoder"}


def load_encoder(name: str) -> Any:
    """The encoder of that name with its weights."""
    if name not in ENCODERS:
        raise UsageError(f"Unknown encoder '{name}'. {nearest(name, ENCODERS)}")
    module, _, attribute = ENCODERS[name].partition(":")
    return getattr(import_module(module), attribute)()
