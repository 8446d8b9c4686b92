from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BartConfig

from vlbench.backbones.bart import JointBart, new_bart
from vlbench.backbones.weights import load_backbone, save_backbone
from vlbench.errors import MissingError


def test_a_saved_backbone_gives_bit_equal_outputs(
    backbone: JointBart, batch: Any, tmp_path: Path
) -> None:
    save_backbone(backbone, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert torch.equal(load_backbone(tmp_path).eval()(batch), backbone(batch))


def test_tied_weights_are_saved_once(backbone: JointBart, tmp_path: Path) -> None:
    save_backbone(backbone, tmp_path)
    tables = [t for t in load_file(str(tmp_path / "model.safetensors")).values() if len(t) == 240]
    assert len(tables) == 1


def test_only_shapes_are_needed_on_the_meta_device(backbone: JointBart, tmp_path: Path) -> None:
    save_backbone(backbone, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    shapes = load_backbone(tmp_path, meta=True)
    assert shapes.token_embedding.device.type == "meta"
    assert [p.shape for p in shapes.parameters()] == [p.shape for p in backbone.parameters()]


def test_weights_that_do_not_fit_are_named(backbone: JointBart, tmp_path: Path) -> None:
    save_backbone(backbone, tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(str(file))
    tensors["visual.image.weight"] = torch.zeros(3, 16)
    tensors["surplus"] = torch.zeros(1)
    del tensors["visual.place.0.bias"]
    save_file(tensors, str(file))
    with pytest.raises(MissingError) as caught:
        load_backbone(tmp_path)
    for words in ("missing visual.place.0.bias", "unknown surplus", "(3, 16), expected (2, 16)"):
        assert words in str(caught.value)


@pytest.mark.parametrize("damage", ["absent", "no config", "no json", "half", "no weights"])
def test_a_damaged_folder_is_explained(backbone: JointBart, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "backbone"
    if damage != "absent":
        save_backbone(backbone, folder)
    if damage == "no config":
        (folder / "config.json").unlink()
    if damage == "no json":
        (folder / "config.json").write_text("{")
    if damage == "half":
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
    if damage == "no weights":
        (folder / "model.safetensors").unlink()
    with pytest.raises(MissingError, match="backbone"):
        load_backbone(folder)


def test_a_config_that_is_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"language": {}}))
    with pytest.raises(MissingError, match="feature_width, visual_tokens"):
        load_backbone(tmp_path)


def test_an_output_layer_of_its_own_is_saved_too(
    config: BartConfig, batch: Any, tmp_path: Path
) -> None:
    config.tie_word_embeddings = False
    backbone = new_bart(config, feature_width=6, visual_tokens=4).eval()
    assert backbone.language.model.encoder.embed_tokens.weight is backbone.token_embedding
    save_backbone(backbone, tmp_path)
    assert torch.equal(load_backbone(tmp_path).eval()(batch), backbone(batch))
