"""The backbones: a plain table. Reading it imports nothing heavy; building one does."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vlbench.errors import UsageError, nearest

if TYPE_CHECKING:
    from vlbench.backbones.base import Backbone

RECIPE_FILE = "recipe.json"
"""How an embedded backbone was made; lies beside its weights and is not read with them."""


class BackboneRow(NamedTuple):
    """What the table says of a backbone."""

    title: str
    builder: str
    """`module:function` of (source, feature_width, visual_tokens, meta) -> Backbone."""
    tokenizer: str
    """`module:function` of (source) -> tokenizer."""
    source: str
    """A folder within the package, or a name on the Hugging Face hub."""
    encoder: str
    """The frozen image encoder whose features it reads."""
    feature_width: int
    visual_tokens: int
    """Visual tokens an image has after pooling."""
    threads: int | None = None
    """CPU threads that pay; None: all the machine has. With a fixed number the bits are the same
    on machines with more cores."""


BACKBONES = {
    "mini-bart": BackboneRow(
        title="mini-bart: BART of 1.5 M parameters, pretrained by vlbench, weights embedded",
        builder="vlbench.backbones.sources:embedded_bart",
        tokenizer="vlbench.backbones.sources:folder_tokenizer",
        source="weights/mini-bart",
        encoder="mini",
        feature_width=128,
        visual_tokens=16,
        threads=1,
    ),
    "clip-bart": BackboneRow(
        title="CLIP-BART: BART-base reading CLIP RN101 features",
        builder="vlbench.backbones.sources:pretrained_bart",
        tokenizer="vlbench.backbones.sources:pretrained_tokenizer",
        source="facebook/bart-base",
        encoder="clip-rn101",
        feature_width=2048,
        visual_tokens=36,
    ),
}


def backbone_row(name: str) -> BackboneRow:
    """The table's row of a backbone."""
    if name not in BACKBONES:
        raise UsageError(f"Unknown backbone '{name}'. {nearest(name, BACKBONES)}")
    return BACKBONES[name]


def build_backbone(
    name: str, path: Path | None = None, meta: bool = False, feature_width: int | None = None
) -> Backbone:
    """The backbone with its pretrained weights, from `path` where one is given.

    On the meta device it has shapes only, enough to count and to plan, and needs no weights.
    `feature_width` is for features of another encoder than the backbone's usual one.
    """
    row = backbone_row(name)
    width = row.feature_width if feature_width is None else feature_width
    build = _load(row.builder)
    backbone: Backbone = build(path or row.source, width, row.visual_tokens, meta)
    return backbone


def build_tokenizer(name: str, path: Path | None = None) -> Any:
    """The backbone's tokenizer, added tokens included."""
    row = backbone_row(name)
    return _load(row.tokenizer)(path or row.source)


def weights_files(name: str, path: Path | None = None) -> list[Path]:
    """The files of a backbone's weights and tokenizer; none where a hub's name stands."""
    folder = Path(__file__).parent / (path or backbone_row(name).source)
    return sorted(file for file in folder.glob("*") if file.is_file() and file.name != RECIPE_FILE)


def _load(reference: str) -> Any:
    module, _, function = reference.partition(":")
    return getattr(import_module(module), function)
