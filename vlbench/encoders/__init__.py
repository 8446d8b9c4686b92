"""Frozen picture encoders, pictures in, features out: a table; nothing heavy is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlbench.errors import UsageError, nearest
from vlbench.outside import load

ENCODERS = {
    "mini": "vlbench.encoders.mini:MiniEncoder",
    "clip-vit-b32": "vlbench.encoders.clip:clip_vit_b32",
    "clip-vit-b16": "vlbench.encoders.clip:clip_vit_b16",
    "clip-vit-l14": "vlbench.encoders.clip:clip_vit_l14",
    "clip-rn50": "vlbench.encoders.clip:clip_rn50",
    "clip-rn101": "vlbench.encoders.clip:clip_rn101",
    "efficientnet-lite0": "vlbench.encoders.efficientnet:efficientnet_lite0",
}
"""Name -> `module:function` of (weights, device) -> `vlbench.data.stores.extract.Encoder`."""


def load_encoder(name: str, weights: Path | None = None, device: str = "cpu") -> Any:
    """The encoder of that name, or `module:function` of your own, with its weights.

    They lie in the folder `weights`, else where they are installed or cached.
    """
    if name not in ENCODERS and ":" not in name:
        raise UsageError(f"Unknown encoder '{name}'. {nearest(name, ENCODERS)}")
    return load(name, ENCODERS.get(name, name))(weights, device)
