"""What encoders share: pixels of one size, normalised, and weights; nothing is downloaded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from vlbench.data.hashes import file_hash
from vlbench.errors import MissingError

BICUBIC = Image.Resampling.BICUBIC
BROKEN = (OSError, ValueError, RuntimeError, KeyError, EOFError, UnpicklingError, SafetensorError)
"""What reading a file of other weights, or of none, raises."""


@dataclass
class GridEncoder:
    """A network of square pictures: patches of whole pictures, embeddings of cropped frames.

    Shapes: B pictures, S = `side` pixels, N = `tokens` patches of C = `width`, F = `frame_width`.
    """

    name: str
    hash: str  # of weights and preprocessing
    net: Any
    device: str
    patches: Callable[[Tensor], Tensor]  # (B, 3, S, S) -> (B, N, C), row-major
    embedding: Callable[[Tensor], Tensor]  # (B, 3, S, S) -> (B, F)
    side: int
    tokens: int
    width: int
    frame_width: int
    mean: Sequence[float]
    std: Sequence[float]

    def __post_init__(self) -> None:
        self.net.eval().to(self.device)

    def encode(self, images: list[Image.Image]) -> np.ndarray:
        """Pictures -> (B, N, C) float32."""
        return self._features(self.patches, [squeezed(image, self.side) for image in images])

    def encode_frames(self, images: list[Image.Image]) -> np.ndarray:
        """Frames -> (B, F) float32."""
        return self._features(self.embedding, [centred(image, self.side) for image in images])

    @torch.inference_mode()
    def _features(self, network: Callable[[Tensor], Tensor], images: list[Any]) -> np.ndarray:
        pixels = normalised(images, self.mean, self.std).to(self.device)
        features: np.ndarray = network(pixels).cpu().numpy()
        return features


def squeezed(image: Image.Image, side: int) -> Image.Image:
    """Make the whole picture a square: its aspect is not kept, as VL-Adapter's authors have it."""
    return image.resize((side, side), BICUBIC)


def centred(image: Image.Image, side: int) -> Image.Image:
    """Cut the square in the middle, its short side resized: HERO's features of frames."""
    width, height = (int(side * length / min(image.size)) for length in image.size)
    image = image.resize((width, height), BICUBIC)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.crop((left, top, left + side, top + side))


def normalised(
    images: Sequence[Image.Image], mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    """B pictures of one size -> (B, 3, height, width): (value in 0..1 - mean) / std."""
    stacked = np.stack([np.asarray(image, dtype=np.uint8) for image in images])
    values = torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255
    return (values - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def weights_folder(encoder: str, source: str, given: Path | None) -> Path:
    """Return the folder `given`, else the cached one of `source`, a name on the hub."""
    if given is not None:
        if not given.is_dir():
            raise MissingError(f"--weights {given}: no such folder.")
        return given
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, local_files_only=True))
    except OSError:  # what the hub raises for what is not in its cache is one, too
        raise MissingError(
            f"The weights of the encoder '{encoder}' are not here: hf download {source}, "
            "or name their folder with --weights."
        ) from None


def weights_file(folder: Path, names: Sequence[str]) -> Path:
    """Return the first of these files that exists."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise MissingError(f"{folder}: no weights there; looked for {', '.join(names)}.")


def weights_hash(files: Iterable[Path], preprocessing: str) -> str:
    """Return the sha256 over the files, and over how pictures are prepared."""
    parts = [*map(file_hash, files), preprocessing]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
