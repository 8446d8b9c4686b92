"""One golden pair: the recorded tensors, and our model with the recorded weights in it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor
from transformers import BartConfig, T5Config
from transformers.models.t5.modeling_t5 import T5LayerNorm

from tools.parity.facts import ModelFacts, read_facts
from tools.parity.options import method_card, options_of
from vlbench.backbones.bart import new_bart
from vlbench.backbones.base import Backbone
from vlbench.backbones.t5 import new_t5
from vlbench.cards.load import load_task
from vlbench.cards.schema import MethodCard
from vlbench.checkpoints.authors import TASKS, Name, authors_names, spelt
from vlbench.checkpoints.weights import match, read_tensors
from vlbench.errors import DataError
from vlbench.techniques.adapt import AdaptedModel, adapt, trained_parameters
from vlbench.tensors import copy_into, unique_state
from vlbench.training.train import loss

INPUTS = ("input_ids", "vis_feats", "boxes", "target_ids", "scores")
ALL_TASKS = "vqa,gqa,nlvr,caption"
WEIGHTS = "weights/"


class Golden:
    """The pair whose JSON is `file`; tasks and tensors go by the authors' names."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.name = file.stem
        self.facts = read_facts(file, ModelFacts)
        self.options = options_of(self.facts)
        self.tensors = read_tensors(file.with_suffix(".safetensors"))
        given = self.facts.args or {}
        self.tasks = tuple(str(given.get("tasks", ALL_TASKS)).split(","))
        """All the model was made for; recorded are those of `facts.tasks`."""

    @property
    def is_followup(self) -> bool:
        """Whether it is of a follow-up's code: less is recorded of it."""
        return self.facts.args is None

    @property
    def lora_is_left_out(self) -> bool:
        """VL-Adapter's T5 takes `--use_lora` and adds none: no such tensor is in the file."""
        has_lora = any("lora" in part for key in self.tensors for part in key.split("."))
        return bool(self.options["use_lora"]) and self.facts.backbone == "t5" and not has_lora

    @cached_property
    def card(self) -> MethodCard:
        """Our card of the model."""
        return method_card(self.facts, self.options)

    @cached_property
    def model(self) -> AdaptedModel:
        """Our model with their weights, in evaluation."""
        model = adapt(self._backbone(), self.card, list(self._ours)).eval()
        own = unique_state(model)
        names = authors_names(model, self._ours)
        copy_into(own, match(own, names, self.of(WEIGHTS), self.name), self.name)
        return model

    def in_double(self) -> Golden:
        """The same in float64, T5's norms too: their own code takes the variance in float32."""
        other = Golden(self.file)
        for module in other.model.double().modules():
            if isinstance(module, T5LayerNorm):
                module.register_forward_hook(_root_mean_square_norm, prepend=True)
        return other

    @cached_property
    def names(self) -> list[Name]:
        """Their names of our tensors, each with the one it is stored under first."""
        return [
            name._replace(theirs=tuple(sorted(name.theirs, key=self._is_alias)))
            for name in authors_names(self.model, self._ours)
        ]

    def _is_alias(self, name: str) -> bool:
        return WEIGHTS + name not in self.tensors

    @property
    def _ours(self) -> dict[str, str]:
        ours = {theirs: own for own, theirs in TASKS.items()}
        unknown = [task for task in self.tasks if task not in ours]
        if unknown:
            raise DataError(f"unknown task '{unknown[0]}'")
        return spelt(ours[task] for task in self.tasks)

    def _backbone(self) -> Backbone:
        sizes, tokens = dict(self.facts.sizes), int(self.options["n_boxes"])
        width = self.tensor(f"in/{next(iter(self.facts.tasks))}/vis_feats").shape[-1]
        if self.facts.backbone == "bart":
            return new_bart(BartConfig(**sizes), width, visual_tokens=tokens)
        if self.facts.backbone == "t5":
            return new_t5(T5Config(**sizes), width, visual_tokens=tokens)
        raise DataError(f"unknown backbone '{self.facts.backbone}'")

    def of(self, prefix: str) -> dict[str, Tensor]:
        """The recorded tensors under a prefix, by the rest of their names."""
        return {
            key.removeprefix(prefix): tensor
            for key, tensor in self.tensors.items()
            if key.startswith(prefix)
        }

    def tensor(self, name: str) -> Tensor:
        """A recorded tensor; DataError where it is not there."""
        if name not in self.tensors:
            raise DataError(f"no tensor {name}")
        return self.tensors[name]

    def batch(self, task: str) -> SimpleNamespace:
        """The recorded inputs of a task."""
        inputs = {name: self.tensor(f"in/{task}/{name}") for name in INPUTS}
        if inputs["vis_feats"].dim() == 3:  # one picture
            inputs |= {name: inputs[name].unsqueeze(1) for name in ("vis_feats", "boxes")}
        ours = next(own for own, theirs in TASKS.items() if theirs == task)
        return SimpleNamespace(task=ours, features=inputs.pop("vis_feats"), **inputs)

    def loss(self, logits: Tensor, batch: SimpleNamespace) -> Tensor:
        """The task's loss."""
        kind = load_task(batch.task).loss
        return loss(logits, batch.target_ids, batch.scores, kind)

    def gradients(self) -> dict[str, Tensor | None]:
        """The model's gradients under their names; None where there is none."""
        trained = trained_parameters(self.model)
        return {
            name.theirs[0]: None if (grad := trained[name.ours].grad) is None else grad[name.rows]
            for name in self.names
            if name.ours in trained
        }


def _root_mean_square_norm(norm: T5LayerNorm, inputs: tuple[Tensor, ...], _: Tensor) -> Tensor:
    """T5's norm in the type of what enters."""
    (x,) = inputs
    variance = x.square().mean(-1, keepdim=True)
    output: Tensor = norm.weight * x * torch.rsqrt(variance + norm.variance_epsilon)
    return output
