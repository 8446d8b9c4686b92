"""The whole pretraining of mini-bart in one go, with a record of what it made and how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import save_file

from vlbench.backbones import RECIPE_FILE
from vlbench.backbones.saving import save_backbone
from vlbench.backbones.tokens import TOKENIZER_FILE, bart_tokenizer
from vlbench.encoders.mini import MiniEncoder
from vlbench.files import write_atomically
from vlbench.pretraining.backbone import (
    HELD_OUT,
    SCENES,
    Classroom,
    train_backbone,
    vocabulary_texts,
)
from vlbench.pretraining.encoder import train_encoder
from vlbench.pretraining.tokenizer import train_tokenizer

STEPS = 9000
SEED = 0
ENCODER_FILE = "mini-encoder.safetensors"


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

    def report(step: int, loss: float, skills: dict[str, float]) -> None:
        last.update(skills)
        shown = "  ".join(f"{skill} {share:.2f}" for skill, share in skills.items())
        say(f"backbone step {step}/{steps} loss {loss:.4f}  {shown}")

    backbone = train_backbone(classroom, exam, steps, SEED, report)
    save_backbone(backbone, folder)
    files = (ENCODER_FILE, TOKENIZER_FILE, "config.json", "model.safetensors")
    recipe = {
        "schema": "vlbench.recipe/1",
        "command": "vlbench pretrain mini-bart",
        "seed": SEED,
        "steps": steps,
        "scenes": scenes,
        "torch": torch.__version__,
        "sha256": {name: _sha256(folder / name) for name in files},
        "skills": last,
    }
    write_atomically(folder / RECIPE_FILE, json.dumps(recipe, indent=2) + "\n")
    return recipe


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
