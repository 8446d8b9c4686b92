"""CLIP's vision transformers (Radford et al., 2021, https://arxiv.org/abs/2103.00020).

Of a picture, squeezed to the square: the patches of the last layer, row-major, without the class
token, as `ViT` in VL-Adapter's features. Of a frame, cropped to the square in its middle: the
projected embedding that CLIP compares with texts, as in VALUE's `clip-vit`.

Shapes: B pictures; ViT-B/32: B x 49 x 768 patches, B x 512 embeddings.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import CLIPVisionModelWithProjection

from vlbench.encoders.pixels import CLIP_MEAN, CLIP_STD, centred, normalised, squeezed
from vlbench.encoders.weights_files import BROKEN, weights_file, weights_folder, weights_hash
from vlbench.errors import DataError

FILES = ("model.safetensors", "pytorch_model.bin")
PREPROCESSING = "clip/1"
"""Another one where the pixels that reach the network change."""


class ClipVit:
    """A vision tower with its projection, as `extract` wants it."""

    def __init__(self, name: str, source: str, weights: Path | None, device: str) -> None:
        self.name = name
        self.device = device
        folder = weights_folder(name, source, weights)
        files = [weights_file(folder, ("config.json",)), weights_file(folder, FILES)]
        self.hash = weights_hash(files, PREPROCESSING)
        self.net = _load(folder).to(device)
        config = self.net.config
        self.side: int = config.image_size
        self.tokens: int = (config.image_size // config.patch_size) ** 2
        self.width: int = config.hidden_size
        self.frame_width: int = config.projection_dim

    @torch.inference_mode()
    def encode(self, images: list[Image.Image]) -> np.ndarray:
        """Pictures -> (B, tokens, width) float32."""
        pixels = normalised([squeezed(each, self.side) for each in images], CLIP_MEAN, CLIP_STD)
        found = self.net(pixels.to(self.device)).last_hidden_state  # (B, 1 + tokens, width)
        features: np.ndarray = found[:, 1:].cpu().numpy()
        return features

    @torch.inference_mode()
    def encode_frames(self, images: list[Image.Image]) -> np.ndarray:
        """Frames -> (B, frame_width) float32."""
        pixels = normalised([centred(each, self.side) for each in images], CLIP_MEAN, CLIP_STD)
        features: np.ndarray = self.net(pixels.to(self.device)).image_embeds.cpu().numpy()
        return features


def _load(folder: Path) -> Any:
    """The network, for use and not for training."""
    read: Any = CLIPVisionModelWithProjection.from_pretrained
    try:
        net, said = read(folder, local_files_only=True, output_loading_info=True)
    except BROKEN as error:
        raise DataError(f"{folder}: cannot be read as a CLIP vision model: {error}") from None
    if said["missing_keys"]:
        raise DataError(
            f"{folder}: {len(said['missing_keys'])} weights of a CLIP vision model are not in it: "
            f"{min(said['missing_keys'])}, ..."
        )
    return net.eval()


clip_vit_b32 = partial(ClipVit, "clip-vit-b32", "openai/clip-vit-base-patch32")
clip_vit_b16 = partial(ClipVit, "clip-vit-b16", "openai/clip-vit-base-patch16")
clip_vit_l14 = partial(ClipVit, "clip-vit-l14", "openai/clip-vit-large-patch14")
