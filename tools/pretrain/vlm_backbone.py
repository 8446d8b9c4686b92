"""Pretraining of mini-vlm: its tower learns to name cells, then its decoder the lessons.

In the second stage tower and connector are frozen, so pictures pass them once; the decoder trains
on the replies alone, in the chat form that its processor gives the lessons.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import SmolVLMForConditionalGeneration

from tools.pretrain.backbone import Classroom, kind_of_step, learn, marks
from tools.pretrain.encoder import learn_cells
from tools.pretrain.lessons import Lesson
from tools.pretrain.vlm import AROUND, GLOBAL, IMAGE, WIDTH
from vlbench.backbones.base import IGNORED
from vlbench.backbones.chat import Chat
from vlbench.backbones.chat_rows import Conversation
from vlbench.data.chat import ChatBatch
from vlbench.data.mini.world import GRID, draw
from vlbench.encoders.mini import pixels

TOWER_STEPS = 1500
TOWER_RATE = 5e-4  # at the mini encoder's 2e-3, or without the clipping, it forgets all at the peak
TOWER_CLIP = 1.0
SIZES = {"short": (32, 4), "pair": (16, 4), "long": (24, 2)}
"""Pictures, or pairs of them, of each kind of batch, and lessons about each."""
EXAMINED = 100
"""Replies of each kind of batch in an exam."""
PICTURE_TOKENS = AROUND + GLOBAL + IMAGE * GRID * GRID + AROUND
"""A picture's tokens, as the processor writes them."""


class Tower(nn.Module):
    """What turns pictures into states of mini-vlm's decoder, one for each cell."""

    def __init__(self, model: SmolVLMForConditionalGeneration) -> None:
        super().__init__()
        self.vision, self.connector = model.model.vision_model, model.model.connector

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, 64, 64) in 0..1 -> (B, 16, 128)."""
        side = 2 * GRID
        mask = torch.ones(len(pixels), side, side, dtype=torch.bool)
        states = self.vision(pixels * 2 - 1, patch_attention_mask=mask).last_hidden_state
        return cast(Tensor, self.connector(states))

    @torch.inference_mode()
    def encode(self, images: list[Image.Image]) -> np.ndarray:
        """Pictures -> (n, 16, 128) float32."""
        return cast(np.ndarray, self(pixels(images)).numpy())


def teach_tower(
    model: SmolVLMForConditionalGeneration, seed: int, report: Callable[[int, float, float], None]
) -> Tower:
    """Train tower and connector from scratch; they are frozen from then on."""
    tower = Tower(model)
    learn_cells(tower, seed, TOWER_STEPS, report, TOWER_RATE, TOWER_CLIP, names_cells=True)
    tower.requires_grad_(False)
    return tower


class ChatClassroom:
    """Lessons in the chat form of a processor, with the tower's states of their pictures."""

    def __init__(self, classroom: Classroom, processor: Any) -> None:
        self.classroom = classroom
        self.conversation = Conversation(processor)

    def loss(
        self, model: SmolVLMForConditionalGeneration, kind: str, size: int, turns: int
    ) -> Tensor:
        """Mean cross entropy of the replies' tokens: `turns` lessons about each of `size` pictures.

        A picture passes the decoder once for all of them: they follow it side by side, each at the
        positions, and seeing what it would see, if it were the only one.
        """
        drawn = [self.classroom.pictures(kind) for _ in range(size)]
        taught = [[self.classroom.lesson(kind, one) for _ in range(turns)] for one in drawn]
        rows = [self._row(lessons, len(one)) for lessons, one in zip(taught, drawn, strict=True)]
        fillers = (self.conversation.padding, IGNORED, 0, turns + 1)
        ids, labels, positions, numbers = (
            pad_sequence([row[part] for row in rows], batch_first=True, padding_value=filler)
            for part, filler in enumerate(fillers)
        )
        states = self.classroom.features[torch.tensor(drawn)].float().reshape(-1, WIDTH)
        inputs = model.model.text_model.embed_tokens(ids)
        is_picture = (ids == model.config.image_token_id)[..., None]
        inputs = inputs.masked_scatter(is_picture, states)
        same_turn = numbers[:, :, None] == numbers[:, None, :]
        sees = (same_turn | (numbers == 0)[:, None, :]).tril()  # (B, L, L)
        hidden = model.model.text_model(
            inputs_embeds=inputs,
            attention_mask=sees[:, None],
            position_ids=positions,
            use_cache=False,
        )
        is_next = functional.pad(labels[:, 1:] != IGNORED, (0, 1))
        logits = model.lm_head(hidden.last_hidden_state[is_next])  # (K, V)
        return functional.cross_entropy(logits, labels[labels != IGNORED])

    def _row(self, lessons: list[Lesson], pictures: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(L,) each: tokens, the replies' where they stand, positions, and numbers of turns.

        Turn 0 is what all lessons share: the template's start and the pictures.
        """
        talk = self.conversation
        prompts = [talk.prompt(lesson.text, pictures) for lesson in lessons]
        starts, questions = zip(*(prompt.rsplit(IMAGE, 1) for prompt in prompts), strict=True)
        spelled = (starts[0] + IMAGE).replace(IMAGE, PICTURE_TOKENS)
        shared, *asked = talk.tokenizer([spelled, *questions], add_special_tokens=False)[
            "input_ids"
        ]
        row, labels = list(shared), [IGNORED] * len(shared)
        positions, turns = list(range(len(shared))), [0] * len(shared)
        for turn, (question, lesson) in enumerate(zip(asked, lessons, strict=True), start=1):
            reply = talk.answer(lesson.reply)
            row += [*question, *reply]
            labels += [*(IGNORED for _ in question), *reply]
            length = len(question) + len(reply)
            positions += range(len(shared), len(shared) + length)
            turns += [turn] * length
        row_, labels_, positions_, turns_ = map(torch.tensor, (row, labels, positions, turns))
        return row_, labels_, positions_, turns_

    def exam(self, kind: str, size: int) -> tuple[ChatBatch, list[Lesson]]:
        """New lessons with the pictures themselves, as a run asks them."""
        pictures, taught = self.classroom.lessons(kind, size)
        rows = [
            self.conversation.row(lesson.text, [draw(self.classroom.scenes[n]) for n in numbers])
            for lesson, numbers in zip(taught, pictures, strict=True)
        ]
        ids, none = tuple(map(str, range(size))), torch.empty(size, 0, dtype=torch.long)
        scores = torch.ones(size)
        batch = ChatBatch("pretraining", ids, none, scores, tuple(rows), self.conversation)
        return batch, taught


def teach_decoder(
    model: SmolVLMForConditionalGeneration,
    classroom: ChatClassroom,
    exam: ChatClassroom,
    steps: int,
    report: Callable[[int, float, dict[str, float]], None],
    checkpoint: Path,
) -> None:
    """Train the decoder, from `checkpoint` where there is one; `report(step, loss, skills)`."""

    def loss(step: int) -> Tensor:
        kind = kind_of_step(step)
        return classroom.loss(model, kind, *SIZES[kind])

    def examine(step: int, value: float) -> None:
        exam.classroom.random.seed(step)  # so that it is the same after an interruption
        backbone = Chat(model, classroom.conversation.processor)
        batches = (exam.exam(kind, EXAMINED) for kind in ("short", "pair", "long"))
        report(step, value, marks(backbone, classroom.conversation.tokenizer, batches))

    learn(model, loss, steps, examine, checkpoint, classroom.classroom.random)
