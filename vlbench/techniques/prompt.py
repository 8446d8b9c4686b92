"""Prompt tuning (Lester et al., 2021, https://arxiv.org/abs/2104.08691) in VL-Adapter's form.

prompt = W_b tanh(W_a E), E: (length, C), W_a: C -> hidden, W_b: hidden -> C: the two layers of
prefix tuning (Li and Liang, 2021), kept at inference. The prompts stand in front of the text: on
BART they get no position and pass through the embedding norm, on T5 they are positions 0, 1, ...
of the relative bias. The reference code has the hidden size 768 written into it.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from vlbench.backbones.base import Backbone, Site
from vlbench.cards.checking import Checked
from vlbench.techniques.adapter import PerTask, owners
from vlbench.techniques.base import Technique


class PromptParams(Checked):
    """Parameters of prompt tuning."""

    length: int = Field(default=40, ge=1)
    """Number of prompt vectors."""
    hidden: int = Field(default=800, ge=1)
    """Width between the two layers."""


class Prompt(nn.Module):
    """The prompt vectors of one task, or of all."""

    def __init__(self, length: int, width: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(length, width)
        self.first = nn.Linear(width, hidden)
        self.second = nn.Linear(hidden, width)

    def forward(self) -> Tensor:
        """(length, C)."""
        return cast(Tensor, self.second(torch.tanh(self.first(self.embedding.weight))))


class PromptTuning(Technique):
    """Prompts at the encoder's input, for each task or for all."""

    Params: ClassVar[type[Checked]] = PromptParams
    sharings: ClassVar[frozenset[str]] = frozenset({"task", "all"})
    params: PromptParams

    def claims(self, backbone: Backbone) -> list[Site]:
        return [site for site in backbone.sites() if site.kind == "encoder_input"]

    def attach(self, backbone: Backbone) -> None:
        whose, _ = owners(self.sharing, self.tasks)
        self.prompts = PerTask(partial(self._new, backbone), whose, backbone.current_task)
        backbone.put_in_front(self.prompts, self.params.length)

    def _new(self, backbone: Backbone) -> Prompt:
        prompt = Prompt(self.params.length, backbone.width, self.params.hidden)
        backbone.initialise(prompt)
        return prompt
