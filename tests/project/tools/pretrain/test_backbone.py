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
