"""CLIP's ResNets (Radford et al., 2021, https://arxiv.org/abs/2103.00020), with timm's network.

Of a picture, squeezed to 224 x 224: the 7 x 7 grid before the attention pooling, row-major, as in
VL-Adapter's `data_clip_RN101_att`. Of a frame: the pooled embedding. An extra: pip install
'vlbench[clip-resnet]'. timm needs torchvision, which must be the one built for the torch that is
installed: another one breaks the import of transformers.

Shapes: B pictures; B x 49 x 2048 grids; B x 512 embeddings of RN101, B x 1024 of RN50.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vlbench.encoders.pixels import CLIP_MEAN, CLIP_STD, centred, normalised, squeezed
from vlbench.encoders.weights_files import BROKEN, weights_file, weights_folder, weights_hash
from vlbench.errors import DataError, MissingError

SIDE = 224
FILES = (
    "model.safetensors",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
)
"""timm's names of the weights, and open_clip's, looked for in this order."""
PREPROCESSING = "clip/1"


class ClipResnet:
    """An image tower with its attention pooling, as `extract` wants it."""

    tokens = 49
    width = 2048

    def __init__(self, name: str, model: str, weights: Path | None, device: str) -> None:
        self.name = name
        self.device = device
        timm = _library(model)
        folder = weights_folder(name, f"timm/{model}", weights)
        file = weights_file(folder, FILES)
        self.hash = weights_hash([file], PREPROCESSING)
        self.net = _load(timm, model, file).eval().to(device)
        self.frame_width: int = self.net.num_classes

    @torch.inference_mode()
    def encode(self, images: list[Image.Image]) -> np.ndarray:
        """Pictures -> (B, 49, 2048) float32."""
        pixels = normalised([squeezed(each, SIDE) for each in images], CLIP_MEAN, CLIP_STD)
        grid: Tensor = self.net.forward_features(pixels.to(self.device))  # (B, 2048, 7, 7)
        features: np.ndarray = grid.flatten(2).transpose(1, 2).cpu().numpy()
        return features

    @torch.inference_mode()
    def encode_frames(self, images: list[Image.Image]) -> np.ndarray:
        """Frames -> (B, frame_width) float32."""
        pixels = normalised([centred(each, SIDE) for each in images], CLIP_MEAN, CLIP_STD)
        features: np.ndarray = self.net(pixels.to(self.device)).cpu().numpy()
        return features


def _library(model: str) -> Any:
    try:
        return import_module("timm")
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision of another torch
        raise MissingError(
            f"CLIP's ResNets need timm and torchvision ({error}): pip install "
            f"'vlbench[clip-resnet]' and `hf download timm/{model}`, in an environment of its "
            f"own, with the torchvision that was built for torch {torch.__version__}; another one "
            "breaks transformers. Features that were extracted there, or the authors' own, are "
            "read here without it."
        ) from None


def _load(timm: Any, model: str, file: Path) -> Any:
    """timm's network with the weights of a file in timm's names or in OpenAI's."""
    try:
        return timm.create_model(model, pretrained=True, pretrained_cfg_overlay={"file": str(file)})
    except BROKEN as error:
        raise DataError(f"{file}: cannot be read as timm's {model}: {error}") from None


clip_rn50 = partial(ClipResnet, "clip-rn50", "resnet50_clip.openai")
clip_rn101 = partial(ClipResnet, "clip-rn101", "resnet101_clip.openai")
