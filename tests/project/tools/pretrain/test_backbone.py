from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

from tools.pretrain import backbone
from tools.pretrain.backbone import (
    Classroom,
    LessonBatch,
    mini_bart,
    task_sentences,
    train_backbone,
)
from tools.pretrain.lessons import lesson, long_lesson, pair_lesson
from tools.pretrain.tokenizer import train_tokenizer
from vlbench.backbones.weights import bart_tokenizer
from vlbench.encoders.mini import TOKENS, WIDTH, MiniEncoder, MiniNet


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained encoder and a small vocabulary."""
    folder = tmp_path_factory.mktemp("pretraining")
    torch.manual_seed(0)
    save_file(MiniNet().state_dict(), folder / "encoder.safetensors")
    train_tokenizer(task_sentences(200, Random(0)), folder / "tokenizer.json")
    return folder


def classroom(folder: Path, seed: int) -> Classroom:
    encoder = MiniEncoder(folder / "encoder.safetensors")
    return Classroom(encoder, bart_tokenizer(folder / "tokenizer.json"), 64, seed)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone, "BATCH", {"short": 12, "pair": 4, "long": 2})
    monkeypatch.setattr(backbone, "WARMUP", 4)
    monkeypatch.setattr(backbone, "skills", lambda model, exam: {})


def loss(model, batch: LessonBatch) -> float:
    with torch.inference_mode():
        logits = model(batch).flatten(0, 1)
    return cross_entropy(logits, batch.target_ids.flatten(), ignore_index=-100).item()


@pytest.mark.parametrize(("kind", "images"), [("short", 1), ("long", 1), ("pair", 2)])
def test_a_batch_holds_texts_features_and_targets(folder, kind, images) -> None:
    batch, taught = classroom(folder, 1).batch(kind, 6)
    assert len(taught) == len(batch.input_ids) == len(batch.target_ids) == 6
    assert batch.features.shape == (6, images, TOKENS, WIDTH)
    assert batch.features.dtype == torch.float32
    assert set(batch.target_ids[:, 0].tolist()) == {0}


def test_the_same_seed_gives_the_same_batches_and_another_seed_others(folder) -> None:
    texts = [
        [each.text for each in classroom(folder, seed).batch("short", 20)[1]] for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_what_is_taught_is_about_pretraining_scenes_alone(folder) -> None:
    assert {scene.part for scene in classroom(folder, 3).scenes} == {"pretraining"}


def test_twenty_steps_lower_the_loss(folder, few) -> None:
    exam = classroom(folder, 5)
    batch, _ = exam.batch("short", 64)
    torch.manual_seed(0)
    before = loss(mini_bart(exam.tokenizer).eval(), batch)
    told: list[int] = []
    room = classroom(folder, 4)
    trained = train_backbone(room, exam, 20, 0, lambda step, *_: told.append(step))
    assert loss(trained, batch) < 0.7 * before
    assert told == [20] and not trained.training


def test_the_same_seed_trains_the_same_weights_and_another_seed_others(folder, few) -> None:
    exam = classroom(folder, 5)
    first, again, other = (
        train_backbone(classroom(folder, 4), exam, 2, seed, lambda *_: None).state_dict()
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert any(not torch.equal(tensor, other[name]) for name, tensor in first.items())


def test_task_sentences_come_as_text_to_repair_and_never_with_an_answer(folder) -> None:
    room = classroom(folder, 7)
    taught = [each for _ in range(4) for each in room.batch("long", 50)[1]]
    repairs = [each for each in taught if each.skill == "repair"]
    assert 0.1 < len(repairs) / len(taught) < 0.4
    assert {each.reply for each in repairs} <= set(room.sentences)


def test_skills_are_shares_of_replies_right_to_the_letter(folder, monkeypatch) -> None:
    exam = classroom(folder, 8)
    drawn = exam.batch

    def few_asked(kind: str, size: int):
        batch, taught = drawn(kind, 4)
        asked.append(taught)
        return batch, taught

    def perfect(self, batch, beams, max_length):
        return [exam.tokenizer(each.reply).input_ids for each in asked[-1]]

    asked: list[list] = []
    monkeypatch.setattr(exam, "batch", few_asked)
    model = mini_bart(exam.tokenizer).train()
    monkeypatch.setattr(type(model), "generate", perfect)
    found = backbone.skills(model, exam)
    assert set(found) == {each.skill for taught in asked for each in taught}
    assert set(found.values()) == {1.0}
    assert model.training


def test_the_vocabulary_is_learnt_from_lessons_and_sentences_without_answers() -> None:
    sentences = task_sentences(300, Random(1))
    assert len(sentences) == 300
    assert all(sentence[0].isupper() for sentence in sentences)
    assert sentences == task_sentences(300, Random(1)) != task_sentences(300, Random(2))


@pytest.mark.parametrize("teach", [lesson, long_lesson, pair_lesson])
def test_lessons_fit_into_the_positions_there_are(folder, teach) -> None:
    room = classroom(folder, 9)
    random = Random(9)
    for scene in room.scenes:
        taught = teach((scene, scene) if teach is pair_lesson else scene, random)
        assert len(room.tokenizer(taught.reply).input_ids) < 128
        assert len(room.tokenizer(taught.text).input_ids) + 2 * TOKENS < 128
