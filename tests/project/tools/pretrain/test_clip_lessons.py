from __future__ import annotations

import re
from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random

import pytest
import torch

from tools.pretrain import backbone, clip_backbone
from tools.pretrain.clip_backbone import FRAMES, STYLE, ClipClassroom, teach_clips
from tools.pretrain.clip_lessons import TEACHERS, clip_lesson
from tools.pretrain.lessons import Lesson
from vlbench.backbones import BACKBONES, build_backbone, build_tokenizer
from vlbench.backbones.weights import load_backbone, weights_folder
from vlbench.data.mini.clips import HOW2QA_FAMILIES, TVQA_FAMILIES, ask, clips, describe, steps
from vlbench.encoders.mini import TOKENS, MiniEncoder


@pytest.fixture(scope="module")
def taught() -> list[Lesson]:
    random = Random(0)
    drawn = islice(clips("pretraining", random, STYLE), 400)
    return [clip_lesson(clip, random) for clip in drawn for _ in range(3)]


def test_every_skill_is_taught(taught: list[Lesson]) -> None:
    skills = Counter(lesson.skill.split()[0] for lesson in taught)
    assert len(skills) >= len({teacher.__name__.split("_")[0] for teacher, _ in TEACHERS}) - 1
    assert sum(lesson.skill.startswith("pick") for lesson in taught) > len(taught) / 3


def test_a_picked_number_is_that_of_the_right_value(taught: list[Lesson]) -> None:
    words = [lesson for lesson in taught if lesson.skill == "pick word"]
    assert words
    for lesson in words:
        asked, _, items = lesson.text.partition("? ")
        listed = dict(re.findall(r"(\w\d): (\w+)\.", items))
        assert listed[lesson.reply] == asked.split()[-1]
        assert 2 <= len(listed) <= 5 and not lesson.reply.startswith("a")


def test_no_lesson_asks_or_answers_as_a_task_does(taught: list[Lesson]) -> None:
    random = Random(1)
    tasks: set[str] = set()
    for clip in islice(clips("train", random, STYLE), 200):
        for families, choices in ((TVQA_FAMILIES, 5), (HOW2QA_FAMILIES, 4)):
            tasks |= {asked.text for asked in ask(clip, families, 5, choices, random)}
        tasks |= {steps(clip), *describe(clip.shots[0], 3, random)}
    for lesson in taught:
        if lesson.skill != "repair":  # reads them, and never with an answer
            assert lesson.text not in tasks and lesson.reply not in tasks
        assert not lesson.reply.startswith("a0")


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


def test_the_embedded_weights_for_clips_are_others_than_for_pictures() -> None:
    row = BACKBONES["mini-bart"]
    folder = weights_folder(row.video_source)
    assert {file.name for file in folder.iterdir()} == {
        "config.json", "model.safetensors", "recipe.json", "tokenizer.json"
    }  # fmt: skip
    tokenizers = [
        (weights_folder(name) / "tokenizer.json").read_bytes()
        for name in (row.source, row.video_source)
    ]
    assert tokenizers[0] == tokenizers[1]
    pictures, videos = (build_backbone("mini-bart", visual=visual) for visual in ("image", "video"))
    assert not torch.equal(pictures.token_embedding, videos.token_embedding)
    assert videos.visual_tokens == 16


def test_the_recipe_beside_the_weights_tells_their_hashes() -> None:
    import hashlib
    import json

    folder: Path = weights_folder(BACKBONES["mini-bart"].video_source)
    recipe = json.loads((folder / "recipe.json").read_text())
    assert recipe["command"] == "vlbench pretrain mini-bart-clips"
    for name, digest in recipe["sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name
    assert recipe["skills"]["pick word"] > 0.9
