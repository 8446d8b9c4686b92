"""Pretraining of mini-bart on lessons: the whole model trains, on features of the frozen encoder.

Every step takes a batch of one kind, so that little is padded: short lessons about one scene,
long ones (inventories, repairs), or lessons about a pair of scenes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import BartConfig

from tools.pretrain.english import QUESTIONS, captions, told_answer
from tools.pretrain.lessons import Lesson, lesson, long_lesson, repair
from tools.pretrain.pair_lessons import pair_lesson
from vlbench.backbones.bart import JointBart, new_bart
from vlbench.backbones.base import IGNORED, Backbone
from vlbench.data.mini.questions import Balance, ask
from vlbench.data.mini.statements import statement
from vlbench.data.mini.world import draw, scenes
from vlbench.encoders.mini import TOKENS, WIDTH
from vlbench.files import write_atomically

SCENES = 40_000
HELD_OUT = 600
LEARNING_RATE = 1e-3
WARMUP = 500
LOOKING = 1000
"""First steps, of long lessons alone: a model that tells all of a picture has learned to look."""
KINDS = ("short", "pair", "short", "pair", "short", "pair", "short", "long")
"""The kinds of batch after them, in turn."""
BATCH = {"short": 96, "pair": 64, "long": 48}
REPORTED = 500
"""A report every so many steps, and after the last."""
PLACE_STD = 0.5  # places and picture numbers start loud: at BART's 0.02 they are not learned


@dataclass(frozen=True, slots=True)
class LessonBatch:
    """What `Backbone.forward` reads, for lessons."""

    input_ids: Tensor
    features: Tensor
    target_ids: Tensor
    task: str = "pretraining"


def lesson_batch(tokenizer: Any, taught: list[Lesson], features: Tensor) -> LessonBatch:
    """The lessons' texts and replies as tokens, beside their features."""
    texts = tokenizer([t.text for t in taught], return_tensors="pt", padding=True)
    replies = tokenizer([t.reply for t in taught], return_tensors="pt", padding=True)
    targets = replies.input_ids.masked_fill(replies.attention_mask == 0, IGNORED)
    return LessonBatch(texts.input_ids, features, targets)


def mini_bart(tokenizer: Any) -> JointBart:
    """An untrained mini-bart: width 128, 3 + 3 layers."""
    config = BartConfig(
        vocab_size=len(tokenizer),
        d_model=128,
        encoder_layers=3,
        decoder_layers=3,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=512,
        decoder_ffn_dim=512,
        max_position_embeddings=128,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    backbone = new_bart(config, WIDTH, TOKENS)
    with torch.no_grad():
        backbone.token_embedding[-TOKENS:].normal_(std=PLACE_STD)
        backbone.visual.image.weight.normal_(std=PLACE_STD)
    return backbone


def task_sentences(count: int, random: Random) -> list[str]:
    """Sentences as the tasks use them, about pretraining scenes, without any answer."""
    balance = Balance()
    sentences: list[str] = []
    for scene in scenes("pretraining", random):
        sentences += [q.text for q in ask(scene, QUESTIONS, 4, balance, random)]
        sentences += random.sample(captions(scene, random), 2)
        sentences += [statement(random).text for _ in range(2)]
        sentences += [told_answer(random) for _ in range(2)]
        if len(sentences) >= count:
            return sentences[:count]
    raise AssertionError("scenes never end")


def vocabulary_texts(random: Random) -> list[str]:
    """What the tokenizer learns its merges from."""
    texts = task_sentences(6000, random)
    for scene in islice(scenes("pretraining", random), 4000):
        for taught in (lesson(scene, random), long_lesson(scene, random)):
            texts += [taught.text, taught.reply]
        taught = pair_lesson((scene, scene), random)
        texts += [taught.text, taught.reply]
    return texts


class PictureEncoder(Protocol):
    """What turns pictures into states (n, 16, 128), a cell's each."""

    def encode(self, images: list[Image.Image]) -> np.ndarray:
        """Pictures -> float32."""


class Classroom:
    """Scenes with their features, and batches of lessons about them."""

    def __init__(self, encoder: PictureEncoder, tokenizer: Any, count: int, seed: int) -> None:
        self.random = Random(seed)
        self.tokenizer = tokenizer
        self.scenes = list(islice(scenes("pretraining", self.random), count))
        self.sentences = task_sentences(count // 2, self.random)
        features = [
            encoder.encode([draw(scene) for scene in self.scenes[start : start + 256]])
            for start in range(0, count, 256)
        ]
        self.features = torch.from_numpy(np.concatenate(features)).half()  # (N, 16, 128)

    def batch(self, kind: str, size: int) -> tuple[LessonBatch, list[Lesson]]:
        """A batch of one kind of lessons."""
        pictures, taught = self.lessons(kind, size)
        features = self.features[torch.tensor(pictures)].float()  # (B, I, 16, 128)
        return lesson_batch(self.tokenizer, taught, features), taught

    def lessons(self, kind: str, size: int) -> tuple[list[tuple[int, ...]], list[Lesson]]:
        """Lessons of one kind, and the numbers of the scenes that they are about."""
        drawn = [
            (pictures, self.lesson(kind, pictures))
            for pictures in (self.pictures(kind) for _ in range(size))
        ]
        return [pictures for pictures, _ in drawn], [taught for _, taught in drawn]

    def pictures(self, kind: str) -> tuple[int, ...]:
        """Numbers of the scenes that a lesson of this kind is about."""
        one, other = (self.random.randrange(len(self.scenes)) for _ in range(2))
        return (one, other) if kind == "pair" else (one,)

    def lesson(self, kind: str, pictures: tuple[int, ...]) -> Lesson:
        """A lesson of one kind about these scenes."""
        scenes = [self.scenes[number] for number in pictures]
        if kind == "pair":
            return pair_lesson((scenes[0], scenes[1]), self.random)
        if kind == "short":
            return lesson(scenes[0], self.random)
        if self.random.random() < 0.25:
            return repair(self.random.choice(self.sentences), self.random)
        return long_lesson(scenes[0], self.random)


def kind_of_step(step: int) -> str:
    """The kind of batch that a step, counted from 1, trains on."""
    return "long" if step <= LOOKING else KINDS[step % len(KINDS)]


def train_backbone(
    classroom: Classroom,
    exam: Classroom,
    steps: int,
    seed: int,
    report: Callable[[int, float, dict[str, float]], None],
    checkpoint: Path | None = None,
) -> JointBart:
    """Train, from `checkpoint` where there is one; `report(step, loss, skills)` every 500 steps."""
    torch.manual_seed(seed)
    backbone = mini_bart(classroom.tokenizer)

    def loss(step: int) -> Tensor:
        kind = kind_of_step(step)
        return token_loss(backbone, classroom.batch(kind, BATCH[kind])[0])

    def examine(step: int, value: float) -> None:
        exam.random.seed(step)  # so that it is the same after an interruption
        report(step, value, skills(backbone, exam))

    learn(backbone, loss, steps, examine, checkpoint, classroom.random)
    return backbone


def token_loss(backbone: JointBart, batch: LessonBatch) -> Tensor:
    """Mean cross entropy of the replies' tokens."""
    logits = backbone(batch)
    return cross_entropy(logits.flatten(0, 1), batch.target_ids.flatten(), ignore_index=IGNORED)


def learn(
    model: nn.Module,
    loss: Callable[[int], Tensor],
    steps: int,
    report: Callable[[int, float], None],
    checkpoint: Path | None = None,
    random: Random | None = None,
) -> None:
    """Train what is not frozen on each step's loss; `report(step, loss)` every so often.

    The state after each report is written to `checkpoint`, from which training resumes; `random`
    is what the losses draw their lessons with.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, total_steps=steps, pct_start=min(0.3, WARMUP / steps)
    )
    parts: dict[str, Any] = {"model": model, "optimiser": optimiser, "schedule": schedule}
    done = 0
    if checkpoint and checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        done = state["step"]
        if done == steps:
            report(done, state["loss"])
        if random:
            random.setstate(state["random"])
    model.train()
    for step in range(done + 1, steps + 1):
        value = loss(step)
        optimiser.zero_grad()
        torch.autograd.backward(value)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        if step % REPORTED == 0 or step == steps:
            report(step, value.item())
            if checkpoint:
                state = {name: part.state_dict() for name, part in parts.items()}
                state |= {"step": step, "loss": value.item()}
                state |= {"random": random.getstate() if random else None}
                write_atomically(checkpoint, partial(torch.save, state))
    model.eval()


def skills(backbone: JointBart, exam: Classroom) -> dict[str, float]:
    """Share of replies right to the letter, per skill, on scenes not trained on."""
    return marks(
        backbone, exam.tokenizer, (exam.batch(kind, 400) for kind in ("short", "pair", "long"))
    )


@torch.inference_mode()
def marks(
    backbone: Backbone, tokenizer: Any, batches: Iterable[tuple[Any, list[Lesson]]]
) -> dict[str, float]:
    """Share of replies right to the letter, per skill."""
    was_training = backbone.training
    backbone.eval()
    right: dict[str, list[bool]] = {}
    for batch, taught in batches:
        rows = backbone.generate(batch, beams=1, max_length=64)
        for row, asked in zip(rows, taught, strict=True):
            reply = tokenizer.decode(row, skip_special_tokens=True).strip()
            right.setdefault(asked.skill, []).append(reply == asked.reply.lower())
    backbone.train(was_training)
    return {skill: sum(marks) / len(marks) for skill, marks in sorted(right.items())}
