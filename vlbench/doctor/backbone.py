"""What a backbone needs: its weights, and features or the encoder that makes them."""

from __future__ import annotations

from pathlib import Path

from vlbench.backbones import VISUALS, Visual, backbone_row
from vlbench.cards.load import all_tasks
from vlbench.data.readers import load_reader
from vlbench.doctor.finding import Finding
from vlbench.encoders import load_encoder
from vlbench.errors import DataError, MissingError


def find_backbone(name: str, path: Path | None, root: Path | None) -> list[Finding]:
    """The weights of a backbone, and what it reads pictures and clips with."""
    row = backbone_row(name)
    encoders = {visual: row.features[visual].encoder for visual in VISUALS}
    return [
        _weights(name, path),
        *(
            _encoder(encoder, visual, root)
            for visual, encoder in encoders.items()
            if encoder != "mini"
        ),
    ]


def _weights(name: str, path: Path | None) -> Finding:
    from huggingface_hub.constants import HF_HUB_CACHE

    from vlbench.backbones.weights import WEIGHTS, weights_folder

    what, source = f"weights of {name}", backbone_row(name).source
    place = "" if path else f" Looked for in the Hugging Face cache, {HF_HUB_CACHE}."
    try:
        folder = weights_folder(path.expanduser().absolute() if path else source)
    except MissingError as error:
        return Finding(what, False, "", f"{error}{place}")
    if not any(file for pattern in WEIGHTS for file in folder.glob(pattern)):
        remedy = f"{folder} has no {' or '.join(WEIGHTS)}: hf download {source}"
        return Finding(what, False, "", remedy)
    return Finding(what, True, str(folder))


def _encoder(encoder: str, visual: Visual, root: Path | None) -> Finding:
    """Whether features are there, or can be made; the default run has pictures alone."""
    from huggingface_hub.constants import HF_HUB_CACHE

    what = f"features of {encoder}"
    is_needed = visual == "image"
    if stores := _stores(encoder, visual, root):
        return Finding(what, True, ", ".join(map(str, stores)), "", is_needed)
    try:
        load_encoder(encoder)
    except (MissingError, DataError) as error:
        where = f"no feature store below {root}" if root else "no --root with feature stores"
        remedy = f"{where}, and none can be made: {error} Looked for in {HF_HUB_CACHE}."
        return Finding(what, False, "", remedy, is_needed)
    return Finding(what, True, "made at the first run, by the encoder", "", is_needed)


def _stores(encoder: str, visual: Visual, root: Path | None) -> list[Path]:
    """The places below the root where the tasks' features are looked for, those that exist."""
    if root is None:
        return []
    from vlbench.data.visual import feature_places

    readers = [load_reader(card.reader, root) for card in all_tasks() if card.visual == visual]
    places = (place for reader in readers for place in feature_places(reader, encoder))
    return sorted({place for place in places if place.exists()})
