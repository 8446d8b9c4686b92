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

from tools.pretrain.backbone import BATCH, KINDS, Classroom, learn, marks
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
TOWER_RATE = 7e-4  # at the mini encoder's 2e-3 it forgets all at the peak
EXAMINED = 200
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
    learn_cells(tower, seed, TOWER_STEPS, report, TOWER_RATE, names_cells=True)
    tower.requires_grad_(False)
    return tower


class ChatClassroom:
    """Lessons in the chat form of a processor, with the tower's states of their pictures."""

    def __init__(self, classroom: Classroom, processor: Any) -> None:
        self.classroom = classroom
        self.conversation = Conversation(processor)

    def loss(self, model: SmolVLMForConditionalGeneration, kind: str, size: int) -> Tensor:
        """Mean cross entropy of the tokens of new lessons' replies."""
        pictures, taught = self.classroom.lessons(kind, size)
        ids, labels = self._tokens(taught, [len(numbers) for numbers in pictures])
        numbers = torch.tensor(pictures)
        states = self.classroom.features[numbers].float().reshape(-1, WIDTH)  # (B I 16, 128)
        inputs = model.model.text_model.embed_tokens(ids)
        is_picture = (ids == model.config.image_token_id)[..., None]
        inputs = inputs.masked_scatter(is_picture, states)
        mask = (ids != self.conversation.padding).long()
        hidden = model.model.text_model(inputs_embeds=inputs, attention_mask=mask, use_cache=False)
        is_next = functional.pad(labels[:, 1:] != IGNORED, (0, 1))
        logits = model.lm_head(hidden.last_hidden_state[is_next])  # (K, V)
        return functional.cross_entropy(logits, labels[labels != IGNORED])

    def _tokens(self, taught: list[Lesson], pictures: list[int]) -> tuple[Tensor, Tensor]:
        """(B, L) each: the lessons' tokens, and those of their replies where they stand."""
        talk = self.conversation
        prompts = [
            talk.prompt(lesson.text, count).replace(IMAGE, PICTURE_TOKENS)
            for lesson, count in zip(taught, pictures, strict=True)
        ]
        questions = talk.tokenizer(prompts, add_special_tokens=False)["input_ids"]
        rows, labels = [], []
        for question, lesson in zip(questions, taught, strict=True):
            reply = talk.answer(lesson.reply)
            rows.append(torch.tensor([*question, *reply]))
            labels.append(torch.tensor([*(IGNORED for _ in question), *reply]))
        return (
            pad_sequence(rows, batch_first=True, padding_value=talk.padding),
            pad_sequence(labels, batch_first=True, padding_value=IGNORED),
        )

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
        kind = KINDS[step % len(KINDS)]
        return classroom.loss(model, kind, BATCH[kind])

    def examine(step: int, value: float) -> None:
        exam.classroom.random.seed(step)  # so that it is the same after an interruption
        backbone = Chat(model, classroom.conversation.processor)
        batches = (exam.exam(kind, EXAMINED) for kind in ("short", "pair", "long"))
        report(step, value, marks(backbone, classroom.conversation.tokenizer, batches))

    learn(model, loss, steps, examine, checkpoint, classroom.classroom.random)
