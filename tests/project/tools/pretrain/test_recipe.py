from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import Random

import pytest
import torch

from tools.pretrain import backbone, recipe
from tools.pretrain.recipe import ENCODER_FILE, SCENES, SEED, STEPS, VLM_STEPS, pretrain_mini_bart
from vlbench.backbones import build_backbone, find_backbone
from vlbench.backbones.sources import RECIPE_FILE, package_folder
from vlbench.encoders.mini import WEIGHTS

SHIPPED = package_folder(find_backbone("mini-bart").source)
FILES = {
    ENCODER_FILE: WEIGHTS,
    **{name: SHIPPED / name for name in ("config.json", "model.safetensors", "tokenizer.json")},
}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_shipped_weights_are_those_that_the_recipe_made() -> None:
    """Weights are replaced by what `vlbench pretrain mini-bart` wrote, with its recipe.json."""
    told = json.loads((SHIPPED / RECIPE_FILE).read_text(encoding="utf-8"))
    assert told["schema"] == "vlbench.recipe/1"
    assert told["sha256"] == {name: sha256(path) for name, path in FILES.items()}
    assert (told["seed"], told["steps"], told["scenes"]) == (SEED, STEPS, SCENES)
    assert told["command"] == "vlbench pretrain mini-bart"
    assert told["skills"]


def test_the_weights_for_clips_are_those_of_their_recipe() -> None:
    folder = package_folder(find_backbone("mini-bart").video_source)
    told = json.loads((folder / RECIPE_FILE).read_text(encoding="utf-8"))
    assert told["command"] == "vlbench pretrain mini-bart-clips"
    assert told["sha256"] == {name: sha256(folder / name) for name in told["sha256"]}


def test_mini_vlm_is_what_its_recipe_made_and_small() -> None:
    folder = package_folder(find_backbone("mini-vlm").source)
    told = json.loads((folder / RECIPE_FILE).read_text(encoding="utf-8"))
    assert (told["command"], told["steps"]) == ("vlbench pretrain mini-vlm", VLM_STEPS)
    assert told["sha256"] == {name: sha256(folder / name) for name in told["sha256"]}
    names = {path.name for path in folder.iterdir()}
    assert names == {*told["sha256"], RECIPE_FILE}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 6.1e6


class Interrupted(Exception):
    pass


def test_a_run_of_the_recipe_writes_all_files_and_resumes(tmp_path, monkeypatch) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(recipe, "learn_cells", lambda *_: None)
    texts = backbone.vocabulary_texts(Random(0))[:2000]
    monkeypatch.setattr(recipe, "vocabulary_texts", lambda random: texts)
    monkeypatch.setattr(recipe, "HELD_OUT", 8)
    monkeypatch.setattr(backbone, "BATCH", {"short": 2, "pair": 2, "long": 2})
    monkeypatch.setattr(backbone, "skills", lambda model, exam: {"seek": 0.5})
    monkeypatch.setattr(backbone, "REPORTED", 1)
    told: list[str] = []

    def interrupt(text: str) -> None:
        if text.startswith("backbone step 2/"):
            raise Interrupted

    try:
        made = pretrain_mini_bart(tmp_path / "new", 2, told.append, scenes=8)
        with pytest.raises(Interrupted):
            pretrain_mini_bart(tmp_path / "again", 2, interrupt, scenes=8)
        assert pretrain_mini_bart(tmp_path / "again", 2, told.append, scenes=8) == made
    finally:
        torch.set_num_threads(threads)
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert names == {*FILES, RECIPE_FILE}
    assert json.loads((tmp_path / "new" / RECIPE_FILE).read_text()) == made
    assert made["sha256"] == {name: sha256(tmp_path / "new" / name) for name in FILES}
    assert (made["steps"], made["scenes"], made["skills"]) == (2, 8, {"seek": 0.5})
    assert told[-1].startswith("backbone step 2/2 loss ")
    assert build_backbone("mini-bart", tmp_path / "new").language.config.d_model == 128
