from __future__ import annotations

import pytest

from tools.pretrain import backbone, clip_backbone
from tools.pretrain.clip_backbone import FRAMES, ClipClassroom, teach_clips
from vlbench.backbones import build_tokenizer
from vlbench.backbones.weights import load_backbone, weights_folder
from vlbench.encoders.mini import TOKENS, MiniEncoder


def test_teaching_goes_on_from_what_the_model_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone, "WARMUP", 1)
    monkeypatch.setattr(clip_backbone, "BATCH", 8)
    monkeypatch.setattr(clip_backbone, "HELD_OUT", 4)
    room = ClipClassroom(MiniEncoder(), build_tokenizer("mini-bart"), 8, 1)
    model = load_backbone(weights_folder("weights/mini-bart"))
    before = model.token_embedding.detach().clone()
    told: list[float] = []
    teach_clips(model, room, room, 2, 0, lambda step, loss, skills: told.append(loss))
    assert model.visual_tokens == FRAMES == TOKENS
    assert len(told) == 1 and told[0] > 0
    moved = (model.token_embedding.detach() - before).abs().max().item()
    assert 0 < moved < 0.1
