"""A backbone as a folder: config.json and model.safetensors, tied weights once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BartConfig

from vlbench.backbones.bart import JointBart, new_bart
from vlbench.backbones.base import Backbone
from vlbench.errors import MissingError
from vlbench.tensors import copy_into, unique_state

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
NOT_KEPT = {"transformers_version", "id2label", "label2id", "classifier_dropout"}
"""Keys of the library's configuration that say nothing about the model."""


def save_backbone(backbone: Backbone, folder: Path) -> None:
    """Write configuration and weights; each file appears complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "schema": "vlbench.backbone/1",
        "feature_width": backbone.visual.feature_width,
        "visual_tokens": backbone.visual_tokens,
        "language": {
            key: value
            for key, value in backbone.config.to_diff_dict().items()
            if key not in NOT_KEPT
        },
    }
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    beside = folder / f".{CONFIG_FILE}.{os.getpid()}"
    beside.write_text(text, encoding="utf-8")
    beside.replace(folder / CONFIG_FILE)
    beside = folder / f".{WEIGHTS_FILE}.{os.getpid()}"
    tensors = {
        name: tensor.detach().contiguous() for name, tensor in unique_state(backbone).items()
    }
    save_file(tensors, str(beside), metadata={"format": "pt"})
    beside.chmod(0o644)  # the library makes files that only their owner can read
    beside.replace(folder / WEIGHTS_FILE)


def load_backbone(folder: Path, meta: bool = False) -> JointBart:
    """The backbone a folder holds; on the meta device it has shapes and no weights."""
    config = _read_config(folder)
    language = BartConfig(**config["language"])
    backbone = new_bart(language, config["feature_width"], config["visual_tokens"], meta=meta)
    if not meta:
        file = folder / WEIGHTS_FILE
        copy_into(unique_state(backbone), _read_weights(file), str(file))
    return backbone


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / CONFIG_FILE
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingError(f"No backbone in {folder}: {CONFIG_FILE} is not there.") from error
    except ValueError as error:
        raise MissingError(f"{file} is not JSON: {error}") from error
    lacking = {"feature_width", "visual_tokens", "language"} - config.keys()
    if lacking:
        raise MissingError(f"{file} is not a vlbench backbone: no {', '.join(sorted(lacking))}.")
    return config


def _read_weights(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(str(file))
    except FileNotFoundError as error:
        raise MissingError(f"No weights at {file}.") from error
    except SafetensorError as error:
        raise MissingError(f"{file} is damaged: {error}") from error
