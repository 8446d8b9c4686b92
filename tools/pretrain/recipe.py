"""The whole pretraining of mini-bart, and what it learns of clips after it, each with a record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import save, save_file

from tools.pretrain.backbone import (
    HELD_OUT,
    SCENES,
    Classroom,
    train_backbone,
    vocabulary_texts,
)
from tools.pretrain.clip_backbone import CLIPS, ClipClassroom, teach_clips
from tools.pretrain.clip_backbone import HELD_OUT as HELD_OUT_CLIPS
from tools.pretrain.encoder import train_encoder
from tools.pretrain.tokenizer import train_tokenizer
from vlbench.backbones.encoder_decoder import EncoderDecoder
from vlbench.backbones.sources import CONFIG_FILE, RECIPE_FILE, weights_folder
from vlbench.backbones.weights import (
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    bart_tokenizer,
    load_backbone,
)
from vlbench.encoders.mini import MiniEncoder
from vlbench.files import write_atomically
from vlbench.tensors import unique_state

STEPS = 9000
CLIP_STEPS = 3000
SEED = 0
ENCODER_FILE = "mini-encoder.safetensors"
NOT_KEPT = {"transformers_version", "id2label", "label2id", "classifier_dropout"}
"""Keys of the library's configuration that say nothing about the model."""


def save_backbone(backbone: EncoderDecoder, folder: Path) -> None:
    """Write configuration and weights, tied tensors once."""
    language = backbone.config.to_diff_dict()
    config = {
        "schema": "vlbench.backbone/1",
        "feature_width": backbone.visual.feature_width,
        "visual_tokens": backbone.visual_tokens,
        "language": {key: value for key, value in language.items() if key not in NOT_KEPT},
    }
    state = unique_state(backbone)
    tensors = {name: tensor.detach().contiguous() for name, tensor in state.items()}
    write_atomically(folder / CONFIG_FILE, json.dumps(config, indent=2, sort_keys=True) + "\n")
    write_atomically(folder / WEIGHTS_FILE, save(tensors, metadata={"format": "pt"}))


def pretrain_mini_bart(
    folder: Path, steps: int, say: Callable[[str], None], scenes: int = SCENES
) -> dict[str, Any]:
    """Encoder, vocabulary, backbone, in this order; everything lands in `folder`.

    One thread: the same machine then gives the same bytes again.
    """
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    net = train_encoder(
        SEED,
        lambda step, loss, accuracy: say(
            f"encoder step {step} loss {loss:.4f} cells {accuracy:.4f}"
        ),
    )
    weights = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
    write_atomically(folder / ENCODER_FILE, lambda path: save_file(weights, path))
    train_tokenizer(vocabulary_texts(Random(SEED)), folder / TOKENIZER_FILE)
    tokenizer = bart_tokenizer(folder / TOKENIZER_FILE)
    encoder = MiniEncoder(folder / ENCODER_FILE)
    say("drawing scenes")
    classroom = Classroom(encoder, tokenizer, scenes, SEED + 1)
    exam = Classroom(encoder, tokenizer, HELD_OUT, SEED + 2)
    last: dict[str, float] = {}
    backbone = train_backbone(classroom, exam, steps, SEED, _reporter(say, steps, last))
    save_backbone(backbone, folder)
    files = (ENCODER_FILE, TOKENIZER_FILE, "config.json", "model.safetensors")
    return _write_recipe(folder, files, "mini-bart", steps, last, scenes=scenes)


def pretrain_on_clips(
    folder: Path, steps: int, say: Callable[[str], None], clips: int = CLIPS
) -> dict[str, Any]:
    """The embedded mini-bart goes on with clips; everything lands in `folder`, on one thread."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    start = weights_folder("weights/mini-bart")
    tokenizer, encoder = bart_tokenizer(start / TOKENIZER_FILE), MiniEncoder()
    say("drawing clips")
    classroom = ClipClassroom(encoder, tokenizer, clips, SEED + 1)
    exam = ClipClassroom(encoder, tokenizer, HELD_OUT_CLIPS, SEED + 2)
    last: dict[str, float] = {}
    backbone = load_backbone(start)
    teach_clips(backbone, classroom, exam, steps, SEED, _reporter(say, steps, last))
    save_backbone(backbone, folder)
    write_atomically(folder / TOKENIZER_FILE, (start / TOKENIZER_FILE).read_bytes())
    files = (TOKENIZER_FILE, "config.json", "model.safetensors")
    return _write_recipe(folder, files, "mini-bart-clips", steps, last, clips=clips)


def _reporter(
    say: Callable[[str], None], steps: int, last: dict[str, float]
) -> Callable[[int, float, dict[str, float]], None]:
    """Says how training goes; the skills of the last report stay in `last`."""

    def report(step: int, loss: float, skills: dict[str, float]) -> None:
        last.update(skills)
        shown = "  ".join(f"{skill} {share:.2f}" for skill, share in skills.items())
        say(f"backbone step {step}/{steps} loss {loss:.4f}  {shown}")

    return report


def _write_recipe(
    folder: Path,
    files: Sequence[str],
    name: str,
    steps: int,
    skills: dict[str, float],
    **amount: int,
) -> dict[str, Any]:
    """The record beside the weights: command, seed, steps, hashes, skills."""
    recipe = {
        "schema": "vlbench.recipe/1",
        "command": f"vlbench pretrain {name}",
        "seed": SEED,
        "steps": steps,
        **amount,
        "torch": torch.__version__,
        "sha256": {file: _sha256(folder / file) for file in files},
        "skills": skills,
    }
    write_atomically(folder / RECIPE_FILE, json.dumps(recipe, indent=2) + "\n")
    return recipe


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
