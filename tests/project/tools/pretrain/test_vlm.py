"""mini-vlm: what it reads, what it is taught, and that its pretraining can be interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tools.pretrain import backbone, encoder, recipe, vlm_backbone
from tools.pretrain.backbone import Classroom, vocabulary_texts
from tools.pretrain.recipe import pretrain_mini_vlm
from tools.pretrain.vlm import mini_vlm, save_model, write_processor
from tools.pretrain.vlm_backbone import ChatClassroom, Tower
from vlbench.backbones import build_backbone
from vlbench.backbones.chat import Chat
from vlbench.backbones.chat_source import load_processor
from vlbench.data.mini.world import draw


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "PICTURES", 16)
    monkeypatch.setattr(encoder, "BATCH", 4)
    monkeypatch.setattr(vlm_backbone, "TOWER_STEPS", 2)
    monkeypatch.setattr(vlm_backbone, "EXAMINED", 2)
    monkeypatch.setattr(vlm_backbone, "SIZES", {"short": (3, 2), "pair": (2, 2), "long": (2, 1)})
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


@pytest.mark.parametrize("kind", ["short", "pair", "long"])
def test_lessons_side_by_side_cost_what_a_model_says_of_them_alone(
    tmp_path: Path, kind: str
) -> None:
    """In the processor's own tokens, with the pictures and not with their states."""
    write_processor(vocabulary_texts(Random(0))[:2000], tmp_path)
    model = mini_vlm(PreTrainedTokenizerFast.from_pretrained(tmp_path), seed=0).eval()
    with torch.no_grad():  # an untrained connector's states differ too little to be missed
        model.model.connector.modality_projection.proj.weight.mul_(50)
    save_model(model, tmp_path)
    processor = load_processor(tmp_path)
    classroom = Classroom(Tower(model), processor.tokenizer, 12, seed=1)
    lessons = ChatClassroom(classroom, processor)
    start = classroom.random.getstate()
    with torch.inference_mode():
        together = lessons.loss(model, kind, 3, 4).item()
    classroom.random.setstate(start)
    losses, counts = [], []
    for pictures in [classroom.pictures(kind) for _ in range(3)]:
        images = [draw(classroom.scenes[number]) for number in pictures]
        for lesson in [classroom.lesson(kind, pictures) for _ in range(4)]:
            reply = lessons.conversation.answer(lesson.reply)
            row = lessons.conversation.row(lesson.text, images, reply)
            tensors, labels = lessons.conversation.collate([row])
            with torch.inference_mode():
                losses.append(model(**tensors, labels=labels).loss.item())
            counts.append(len(reply))
    alone = sum(a * b for a, b in zip(losses, counts, strict=True)) / sum(counts)
    assert together == pytest.approx(alone, abs=2e-3)  # states are kept as float16
