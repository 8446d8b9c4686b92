"""The backbones: a plain table. Reading it imports nothing heavy; building one does."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from vlbench.errors import UsageError, nearest

if TYPE_CHECKING:
    from vlbench.backbones.base import Backbone

RECIPE_FILE = "recipe.json"
"""How an embedded backbone was made; lies beside its weights and is not read with them."""
NOT_READ = {".h5", ".msgpack", ".ot", ".onnx", ".md"}
"""Files of a hub's folder: weights for other frameworks, and prose."""

Visual = Literal["image", "video"]
"""What features are of: pictures, or the frames of a clip."""
VISUALS: tuple[Visual, ...] = ("image", "video")


class Features(NamedTuple):
    """The features a backbone reads, of a frozen encoder."""

    encoder: str
    width: int
    tokens: int
    """Visual tokens of a picture after pooling, or frames of a clip."""
    is_grid: bool = True
    """Whether they are a picture's: pretraining fixes their number, but not that of frames."""
    is_own: bool = True
    """Whether they are of the backbone's encoder; else their projection starts anew."""

    def of(self, encoder: str, width: int) -> Features:
        """Features of another encoder in their place."""
        return self._replace(encoder=encoder, width=width, is_own=encoder == self.encoder)


class BackboneRow(NamedTuple):
    """What the table says of a backbone."""

    title: str
    builder: str
    """`module:function` of (source, Features, meta) -> Backbone."""
    tokenizer: str
    """`module:function` of (source) -> tokenizer."""
    source: str
    """A folder within the package, or a name on the Hugging Face hub."""
    features: dict[Visual, Features]
    video_source: str = ""
    """Where other weights lie for clips; empty: `source` reads both."""
    threads: int | None = None
    """CPU threads that pay, with the same bits on every machine; None: all it has."""

    def source_of(self, visual: Visual) -> str:
        """Where the weights for pictures or for clips lie."""
        return (self.video_source if visual == "video" else "") or self.source


CLIP: dict[Visual, Features] = {
    "image": Features("clip-rn101", width=2048, tokens=36),
    "video": Features("clip-vit-b32", width=512, tokens=64, is_grid=False),
}
BACKBONES = {
    "mini-bart": BackboneRow(
        title="mini-bart: BART of 1.5 M parameters, pretrained by vlbench, weights embedded",
        builder="vlbench.backbones.weights:embedded_bart",
        tokenizer="vlbench.backbones.weights:folder_tokenizer",
        source="weights/mini-bart",
        features={
            "image": Features("mini", width=128, tokens=16),
            "video": Features("mini", width=128, tokens=16, is_grid=False),
        },
        video_source="weights/mini-bart-clips",
        threads=1,
    ),
    "clip-bart": BackboneRow(
        title="CLIP-BART: BART-base reading CLIP RN101 features",
        builder="vlbench.backbones.weights:pretrained_bart",
        tokenizer="vlbench.backbones.weights:pretrained_tokenizer",
        source="facebook/bart-base",
        features=CLIP,
    ),
    "clip-t5": BackboneRow(
        title="CLIP-T5: T5-base reading CLIP RN101 features",
        builder="vlbench.backbones.weights:pretrained_t5",
        tokenizer="vlbench.backbones.weights:pretrained_tokenizer",
        source="t5-base",
        features=CLIP,
    ),
}


def backbone_row(name: str) -> BackboneRow:
    """The table's row of a backbone."""
    if name not in BACKBONES:
        raise UsageError(f"Unknown backbone '{name}'. {nearest(name, BACKBONES)}")
    return BACKBONES[name]


def build_backbone(
    name: str,
    path: Path | None = None,
    meta: bool = False,
    visual: Visual = "image",
    features: Features | None = None,
) -> Backbone:
    """The backbone with its pretrained weights, from `path` where one is given.

    On the meta device it has shapes only, and needs no weights. It reads `features`, else its own.
    """
    row = backbone_row(name)
    read = features or row.features[visual]
    return cast("Backbone", _load(row.builder)(path or row.source_of(visual), read, meta))


def build_tokenizer(name: str, path: Path | None = None) -> Any:
    """The backbone's tokenizer, added tokens included."""
    row = backbone_row(name)
    return _load(row.tokenizer)(path or row.source)


def weights_files(name: str, path: Path | None = None, visual: Visual = "image") -> list[Path]:
    """The files of a backbone's weights, configuration and tokenizer, wherever they lie."""
    from vlbench.backbones.weights import weights_folder

    folder = weights_folder(path or backbone_row(name).source_of(visual))
    return sorted(
        file
        for file in folder.glob("*")
        if file.is_file() and file.name != RECIPE_FILE and file.suffix not in NOT_READ
    )


def _load(reference: str) -> Any:
    module, _, function = reference.partition(":")
    return getattr(import_module(module), function)
