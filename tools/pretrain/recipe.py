"""The whole pretraining of mini-bart, of what it learns of clips, and of mini-vlm, on record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load_file, save, save_file
from transformers import PreTrainedTokenizerFast

from tools.pretrain.backbone import (
    HELD_OUT,
    SCENES,
    Classroom,
    train_backbone,
    vocabulary_texts,
)
from tools.pretrain.clip_backbone import CLIPS, ClipClassroom, teach_clips
from tools.pretrain.clip_backbone import HELD_OUT as HELD_OUT_CLIPS
from tools.pretrain.encoder import learn_cells
from tools.pretrain.tokenizer import train_tokenizer
from tools.pretrain.vlm import mini_vlm, save_model, write_processor
from tools.pretrain.vlm_backbone import ChatClassroom, Tower, teach_decoder, teach_tower
from vlbench.backbones.chat_source import load_processor
from vlbench.backbones.encoder_decoder import EncoderDecoder
from vlbench.backbones.sources import CONFIG_FILE, RECIPE_FILE, weights_folder
from vlbench.backbones.weights import (
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    bart_tokenizer,
    load_backbone,
)
from vlbench.cards.load import all_tasks
from vlbench.encoders.mini import MiniEncoder, MiniNet
from vlbench.files import write_atomically
from vlbench.tensors import unique_state

ENCODER_STEPS = 1500
STEPS = 8000
CLIP_STEPS = 3000
VLM_STEPS = 11_000
INSTRUCTIONS = 300
"""How often mini-vlm's vocabulary reads what a task asks of a chat model."""
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
    """Encoder, vocabulary, backbone, in this order; what was interrupted goes on.

    One thread: the same machine then gives the same bytes again.
    """
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ENCODER_FILE).is_file():
        torch.manual_seed(SEED)
        net = MiniNet()
        learn_cells(net, SEED, ENCODER_STEPS, _cells_reporter(say))
        weights = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
        write_atomically(folder / ENCODER_FILE, lambda path: save_file(weights, path))
    train_tokenizer(vocabulary_texts(Random(SEED)), folder / TOKENIZER_FILE)
    tokenizer = bart_tokenizer(folder / TOKENIZER_FILE)
    encoder = MiniEncoder(folder / ENCODER_FILE)
    say("drawing scenes")
    classroom = Classroom(encoder, tokenizer, scenes, SEED + 1)
    exam = Classroom(encoder, tokenizer, HELD_OUT, SEED + 2)
    last: dict[str, float] = {}
    checkpoint = folder / "backbone.part"
    report = _reporter(say, steps, last)
    backbone = train_backbone(classroom, exam, steps, SEED, report, checkpoint)
    save_backbone(backbone, folder)
    checkpoint.unlink()
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


def pretrain_mini_vlm(
    folder: Path, steps: int, say: Callable[[str], None], scenes: int = SCENES
) -> dict[str, Any]:
    """Vocabulary, tower, decoder, in this order; what was interrupted goes on.

    One thread. `folder` holds the model as the transformers library saves one.
    """
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    tower_file, checkpoint = folder / "tower.safetensors.part", folder / "decoder.part"
    if not (folder / TOKENIZER_FILE).is_file():
        asked = [f"User: {card.question}\nAssistant:" for card in all_tasks()] * INSTRUCTIONS
        write_processor([*vocabulary_texts(Random(SEED)), *asked], folder)
    model = mini_vlm(PreTrainedTokenizerFast.from_pretrained(folder), SEED)
    if tower_file.is_file():
        tower = Tower(model).requires_grad_(False).eval()
        tower.load_state_dict(load_file(tower_file))
    else:
        tower = teach_tower(model, SEED, _cells_reporter(say))
        weights = {name: tensor.contiguous() for name, tensor in tower.state_dict().items()}
        write_atomically(tower_file, lambda path: save_file(weights, path))
    save_model(model, folder)
    processor = load_processor(folder)
    say("drawing scenes")
    lessons = Classroom(tower, processor.tokenizer, scenes, SEED + 1)
    exam = Classroom(tower, processor.tokenizer, HELD_OUT, SEED + 2)
    last: dict[str, float] = {}
    classrooms = ChatClassroom(lessons, processor), ChatClassroom(exam, processor)
    teach_decoder(model, *classrooms, steps, _reporter(say, steps, last), checkpoint)
    save_model(model, folder)
    for file in (tower_file, checkpoint):
        file.unlink()
    files = sorted(file.name for file in folder.iterdir() if file.name != RECIPE_FILE)
    return _write_recipe(folder, files, "mini-vlm", steps, last, scenes=scenes)


def _cells_reporter(say: Callable[[str], None]) -> Callable[[int, float, float], None]:
    def report(step: int, loss: float, accuracy: float) -> None:
        say(f"encoder step {step} loss {loss:.4f} cells {accuracy:.4f}")

    return report


def _reporter(
    say: Callable[[str], None], steps: int, last: dict[str, float]
) -> Callable[[int, float, dict[str, float]], None]:
    """Says how training goes; the skills of the last report stay in `last`."""

    def report(step: int, loss: float, skills: dict[str, float]) -> None:
        last.clear()
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


RECIPES: dict[str, tuple[Callable[[Path, int, Callable[[str], None]], dict[str, Any]], int]] = {
    "mini-bart": (pretrain_mini_bart, STEPS),
    "mini-bart-clips": (pretrain_on_clips, CLIP_STEPS),
    "mini-vlm": (pretrain_mini_vlm, VLM_STEPS),
}
"""Name -> what pretrains it, and the steps of its last stage."""
