"""What training takes of memory, from shapes alone, before anything is read or loaded.

Activations are those that autograd would keep of a made-up example, scaled to the tokens of the
largest batch; attention kernels that keep more than linearly in the tokens take more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from vlbench.backbones import find_backbone
from vlbench.backbones.base import Backbone
from vlbench.backbones.chat import Chat
from vlbench.cards.schema import TaskCard, TrainSettings
from vlbench.runs.plan import adapted
from vlbench.runs.spec import RunSpec
from vlbench.techniques.adapt import AdaptedModel, TrueOnMeta, trained_parameters

BYTES_PER_WEIGHT = {"fp32": 4.0, "bf16": 2.0, "4bit": 0.55}
"""Bytes per frozen weight; 4bit includes its scales."""
BYTES_PER_TRAINED = 16
"""Bytes per weight that trains: in fp32 itself, its gradient and two moments."""
BYTES_PER_LOGIT = 12
"""Bytes per logit: itself, the loss's copy and its gradient."""
PICTURE = (640, 480)
TEXT, TARGET = 40, 10
"""Tokens where a task's card does not limit them."""


class Estimate(NamedTuple):
    """Bytes."""

    frozen: int
    trained: int
    activations: int

    @property
    def text(self) -> str:
        """The sum, in GB."""
        return f"{sum(self) / 1e9:.1f} GB"


class MicroBatch(NamedTuple):
    """What is computed at once."""

    examples: int
    tokens: int
    """Of an example, those of its pictures among them."""
    targets: int
    """Labels of an example."""


def estimate(spec: RunSpec) -> Estimate:
    """Memory of the run's training, per process, without Python and the libraries."""
    model = adapted(spec, meta=True)
    frames = find_backbone(spec.backbone_reference).frames
    parts = [
        MicroBatch(
            _at_once(spec, card),
            _tokens(model.backbone, card, frames),
            card.max_target_tokens or TARGET,
        )
        for card in spec.tasks
    ]
    return estimate_model(model, spec.method.train, parts)


def estimate_model(
    model: AdaptedModel, train: TrainSettings, parts: Sequence[MicroBatch]
) -> Estimate:
    """What training takes of a model on the meta device, where the largest of `parts` fits."""
    backbone = model.backbone
    trained = sum(p.numel() for p in trained_parameters(model).values())
    layers = {*backbone.injectable.parameters()} if isinstance(backbone, Chat) else set()
    frozen = 0.0
    for parameter in model.parameters():
        if not parameter.requires_grad:
            is_packed = train.weights == "4bit" and parameter in layers and parameter.dim() > 1
            kind = "bf16" if train.weights == "4bit" and not is_packed else train.weights
            frozen += BYTES_PER_WEIGHT[kind] * parameter.numel()
    if not trained:
        return Estimate(int(frozen), 0, 0)
    kept, tokens = _activation_bytes(model)
    share = 0.5 if train.precision == "bf16" or train.weights != "fp32" else 1.0
    logits = BYTES_PER_LOGIT * len(backbone.token_embedding)
    activations = (
        part.examples * (share * kept * part.tokens / tokens + logits * part.targets)
        for part in parts
    )
    return Estimate(int(frozen), BYTES_PER_TRAINED * trained, int(max(activations)))


def _activation_bytes(model: AdaptedModel) -> tuple[int, int]:
    """Bytes that autograd keeps of a few tokens in training, and how many they are.

    Of a chat model those of its decoder: what reads pictures is frozen.
    """
    storages: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not any(isinstance(part, nn.Parameter) for part in (tensor, tensor._base)):
            storage = tensor.untyped_storage()
            storages[storage._cdata] = storage
        return tensor

    backbone, task = model.backbone, model.technique.tasks[0]
    model.train()
    with TrueOnMeta(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        if isinstance(backbone, Chat):
            tokens = TEXT
            backbone.current_task.enter(task)
            ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
            states = backbone.language.get_input_embeddings()(ids)
            if any(parameter.requires_grad for parameter in backbone.visual.parameters()):
                states = states.detach().requires_grad_()  # as the pictures' states do
            backbone.parts.stack(inputs_embeds=states, use_cache=False)
        else:
            batch: Any = backbone.example(task)
            tokens = batch.input_ids.numel() + batch.features.shape[2]
            model(batch)
    return sum(storage.nbytes() for storage in storages.values()), tokens


def _at_once(spec: RunSpec, card: TaskCard) -> int:
    """Examples of the task that are computed at once."""
    size = card.batch_size(spec.method.train.batch_size)
    return min(size, spec.max_batch) if isinstance(spec.max_batch, int) else size


def _tokens(backbone: Backbone, card: TaskCard, frames: int) -> int:
    """Tokens of one example of the task, its pictures' among them."""
    text = card.max_input_tokens or TEXT
    if isinstance(backbone, Chat):
        pictures = card.images_per_example * (frames if card.visual == "video" else 1)
        row = backbone.conversation.row("", [Image.new("RGB", PICTURE, "grey")] * pictures)
        return text + len(row.tokens["input_ids"])
    visual = getattr(backbone, "visual_tokens", 0)
    return text + int(visual) * card.images_per_example
