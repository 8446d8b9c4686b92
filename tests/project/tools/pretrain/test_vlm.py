"""mini-vlm: what it reads, what it is taught, and that its pretraining can be interrupted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tools.pretrain import backbone, encoder, recipe, vlm_backbone
from tools.pretrain.recipe import pretrain_mini_vlm
from vlbench.backbones import build_backbone
from vlbench.backbones.chat import Chat


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "PICTURES", 16)
    monkeypatch.setattr(encoder, "BATCH", 4)
    monkeypatch.setattr(vlm_backbone, "TOWER_STEPS", 2)
    monkeypatch.setattr(vlm_backbone, "EXAMINED", 2)
    monkeypatch.setattr(vlm_backbone, "BATCH", {"short": 3, "pair": 2, "long": 2})
    monkeypatch.setattr(backbone, "REPORTED", 1)
    monkeypatch.setattr(recipe, "HELD_OUT", 8)
    words = ["claim : right or wrong", "tally all items on each canvas"] * 4
    monkeypatch.setattr(recipe, "vocabulary_texts", lambda random: words)


class Interrupted(Exception):
    pass


def test_an_interrupted_pretraining_ends_as_if_it_had_not_been(small: None, tmp_path: Path) -> None:
    threads, told = torch.get_num_threads(), list[str]()

    def interrupt(text: str) -> None:
        if text.startswith("backbone step 3/"):
            raise Interrupted

    try:
        whole = pretrain_mini_vlm(tmp_path / "whole", 4, told.append, scenes=12)
        with pytest.raises(Interrupted):
            pretrain_mini_vlm(tmp_path / "again", 4, interrupt, scenes=12)
        assert (tmp_path / "again" / "decoder.part").is_file()
        again = pretrain_mini_vlm(tmp_path / "again", 4, lambda _: None, scenes=12)
    finally:
        torch.set_num_threads(threads)
    assert again == whole and not list(tmp_path.glob("*/*.part"))
    assert "model.safetensors" in whole["sha256"] and whole["skills"].keys()
    assert [text.split(" loss")[0] for text in told if text.startswith("backbone")] == [
        f"backbone step {step}/4" for step in (1, 2, 3, 4)
    ]
    config = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert config["model_type"] == "smolvlm"
    built = build_backbone(str(tmp_path / "whole"))
    assert isinstance(built, Chat) and built.conversation.processor.image_seq_len == 16
