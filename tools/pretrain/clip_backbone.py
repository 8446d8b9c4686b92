"""mini-bart goes on learning, from clips: whole model, features of the frozen encoder by frame."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from random import Random
from typing import Any

import numpy as np
import torch

from tools.pretrain.backbone import LessonBatch, learn, lesson_batch, marks, token_loss
from tools.pretrain.clip_lessons import clip_lesson
from tools.pretrain.lessons import Lesson
from vlbench.backbones.bart import JointBart
from vlbench.data.mini.clips import Style, clips
from vlbench.data.mini.world import draw
from vlbench.data.stores.extract import ClipEncoder
from vlbench.encoders.mini import MiniEncoder

CLIPS = 6_000
HELD_OUT = 400
FRAMES = 16
BATCH = 64
STYLE = Style(shots=(1, 2, 3, 4), pace=(2, 3, 4, 5))


class ClipClassroom:
    """Clips with their features, and batches of lessons about them."""

    def __init__(self, encoder: MiniEncoder, tokenizer: Any, count: int, seed: int) -> None:
        self.random = Random(seed)
        self.tokenizer = tokenizer
        self.clips = list(islice(clips("pretraining", self.random, STYLE), count))
        frames = ClipEncoder(encoder, FRAMES)
        features = [
            frames.encode(
                [
                    [draw(scene) for scene in clip.frames()]
                    for clip in self.clips[start : start + 32]
                ]
            )
            for start in range(0, count, 32)
        ]
        self.features = torch.from_numpy(np.concatenate(features)).half()  # (N, 16, 128)

    def batch(self, size: int) -> tuple[LessonBatch, list[Lesson]]:
        """A batch of lessons, each about a clip of its own."""
        chosen = [self.random.randrange(len(self.clips)) for _ in range(size)]
        taught = [clip_lesson(self.clips[number], self.random) for number in chosen]
        features = self.features[torch.tensor(chosen), None].float()  # (B, 1, 16, 128)
        return lesson_batch(self.tokenizer, taught, features), taught


def teach_clips(
    backbone: JointBart,
    classroom: ClipClassroom,
    exam: ClipClassroom,
    steps: int,
    seed: int,
    report: Callable[[int, float, dict[str, float]], None],
) -> None:
    """Train on from what the backbone knows; `report(step, loss, skills)` every 500 steps."""
    torch.manual_seed(seed)
    backbone.visual_tokens = FRAMES

    def skills() -> dict[str, float]:
        return marks(backbone, exam.tokenizer, [exam.batch(HELD_OUT)])

    learn(
        backbone,
        lambda step: token_loss(backbone, classroom.batch(BATCH)[0]),
        steps,
        lambda step, loss: report(step, loss, skills()),
    )
