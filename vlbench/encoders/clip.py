"""CLIP's image towers (Radford et al., 2021, https://arxiv.org/abs/2103.00020).

ViT, of a picture: the patches of the last layer without the class token, as `ViT` in VL-Adapter's
features; of a frame: the projected embedding that CLIP compares with texts, as VALUE's `clip-vit`.

ResNet, timm's: the 7 x 7 grid before the attention pooling, as in VL-Adapter's
`data_clip_RN101_att`; of a frame the pooled embedding. timm needs the torchvision that was built
for the installed torch: another one breaks the import of transformers.

Shapes: B pictures; ViT-B/32: B x 49 x 768 patches, B x 512 embeddings; ResNets: B x 49 x 2048
grids, B x 512 embeddings of RN101, B x 1024 of RN50.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from vlbench.encoders.base import BROKEN, GridEncoder, weights_file, weights_folder, weights_hash
from vlbench.errors import DataError, MissingError

VIT_FILES = ("model.safetensors", "pytorch_model.bin")
RESNET_FILES = tuple(f"{prefix}{file}" for file in VIT_FILES for prefix in ("", "open_clip_"))
"""timm's names of the weights, and open_clip's, looked for in this order."""
PREPROCESSING = "clip/1"
"""Another one where the pixels that reach the network change."""
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's training pictures, values in 0..1 (https://github.com/openai/CLIP)."""


def _vit(name: str, source: str, weights: Path | None, device: str) -> GridEncoder:
    """A vision transformer with its projection."""
    from transformers import CLIPVisionModelWithProjection

    folder = weights_folder(name, source, weights)
    files = [weights_file(folder, ("config.json",)), weights_file(folder, VIT_FILES)]
    read: Any = CLIPVisionModelWithProjection.from_pretrained
    try:
        net, info = read(folder, local_files_only=True, output_loading_info=True)
        if missing := info["missing_keys"]:
            raise KeyError(min(missing))
    except BROKEN as error:
        raise DataError(f"{folder}: cannot be read as a CLIP vision model: {error}") from None
    networks: tuple[Any, Any] = (
        lambda pixels: net(pixels).last_hidden_state[:, 1:],
        lambda pixels: net(pixels).image_embeds,
    )
    digits, own = weights_hash(files, PREPROCESSING), net.config
    tokens = (own.image_size // own.patch_size) ** 2
    sizes = own.image_size, tokens, own.hidden_size, own.projection_dim
    return GridEncoder(name, digits, net, device, *networks, *sizes, MEAN, STD)


def _resnet(name: str, model: str, weights: Path | None, device: str) -> GridEncoder:
    """A ResNet with its attention pooling."""
    try:
        timm = import_module("timm")
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision of another torch
        raise MissingError(
            f"CLIP's ResNets need timm and torchvision ({error}): pip install "
            f"'vlbench[clip-resnet]' in an environment of its own, with the torchvision that was "
            f"built for torch {torch.__version__}. Extracted features are read without it."
        ) from None
    file = weights_file(weights_folder(name, f"timm/{model}", weights), RESNET_FILES)
    source = {"file": str(file)}  # in timm's names or in OpenAI's
    try:
        net = timm.create_model(model, pretrained=True, pretrained_cfg_overlay=source)
    except BROKEN as error:
        raise DataError(f"{file}: cannot be read as timm's {model}: {error}") from None
    patches: Any = lambda pixels: net.forward_features(pixels).flatten(2).mT  # noqa: E731
    digits, sizes = weights_hash([file], PREPROCESSING), (224, 49, 2048, net.num_classes)
    return GridEncoder(name, digits, net, device, patches, net, *sizes, MEAN, STD)


clip_vit_b32 = partial(_vit, "clip-vit-b32", "openai/clip-vit-base-patch32")
clip_vit_b16 = partial(_vit, "clip-vit-b16", "openai/clip-vit-base-patch16")
clip_vit_l14 = partial(_vit, "clip-vit-l14", "openai/clip-vit-large-patch14")
clip_rn50 = partial(_resnet, "clip-rn50", "resnet50_clip.openai")
clip_rn101 = partial(_resnet, "clip-rn101", "resnet101_clip.openai")
