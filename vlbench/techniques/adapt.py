"""Put a technique on a backbone: first everything is frozen, then what trains is named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor, nn

from vlbench.cards.checking import check, refuse
from vlbench.cards.technique import find_technique
from vlbench.errors import UsageError
from vlbench.techniques.attached import changes
from vlbench.techniques.base import Technique

if TYPE_CHECKING:
    from vlbench.backbones.base import Backbone, Batch
    from vlbench.cards.method import MethodCard


class AdaptedModel(nn.Module):
    """A backbone with a technique's modules attached to it."""

    def __init__(self, backbone: Backbone, technique: Technique) -> None:
        super().__init__()
        self.backbone = backbone
        self.technique = technique

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, T, V) of the batch's targets."""
        logits: Tensor = self.backbone(batch)
        return logits

    def counted_logits(self, batch: Batch) -> Tensor:
        """Logits (K, V) of the K targets that count, in their order: all that the loss needs."""
        return self.backbone.counted_logits(batch)

    def undecayed(self) -> list[nn.Parameter]:
        """What weight decay spares beside the biases of linear layers and layer norms."""
        return [*self.backbone.undecayed(), *self.technique.undecayed()]

    def checkpoint_activations(self) -> None:
        """Keep of each layer what enters it; the backward pass computes the rest once more."""
        if reason := self.technique.only_once:
            raise UsageError(
                f"--checkpoint-activations: the layers under '{type(self.technique).__name__}' "
                f"cannot be computed twice: {reason}. Leave it out."
            )
        self.backbone.language.activation_checkpointing_enable()

    @contextmanager
    def answering(self, task: str) -> Iterator[None]:
        """Evaluation mode for the batches of one task, the technique's weights folded in."""
        was_training = self.training
        self.eval()
        try:
            with self.technique.folded(task):
                yield
        finally:
            self.train(was_training)

    def generate(self, batch: Batch, beams: int, max_length: int) -> list[list[int]]:
        """Token ids of each answer, special tokens included."""
        return self.backbone.generate(batch, beams, max_length)

    def choice_logits(self, batch: Batch, first_tokens: Sequence[int]) -> Tensor:
        """Logits (B, choices) of each choice's first token."""
        return self.backbone.choice_logits(batch, first_tokens)


def new_technique(method: MethodCard, tasks: Sequence[str]) -> Technique:
    """The technique a resolved method card names, for these tasks; not attached yet."""
    kind = find_technique(method.technique, method.folder)
    params, faults = check(kind.Params, method.params, ("params",))
    if params is None or faults:
        raise refuse(method.shown, faults)
    return kind(params, method.sharing, tasks)


def adapt(backbone: Backbone, method: MethodCard, tasks: Sequence[str]) -> AdaptedModel:
    """The adapted model a resolved method card describes; on a meta backbone too, for planning."""
    technique = new_technique(method, tasks)
    try:
        technique.check(backbone)
        backbone.requires_grad_(False)
        backbone.set_dropout(method.train.dropout)
        _attach(technique, backbone)
        trained = technique.trained(backbone, method.train.norms)
    except UsageError as error:  # what does not fit this backbone, whichever part of it tells
        raise UsageError(f"{method.shown}: {error}") from error
    for part in trained:
        part.requires_grad_(True)
    return AdaptedModel(backbone, technique).train()


def _attach(technique: Technique, backbone: Backbone) -> None:
    if not technique.starts_as_identity:
        technique.attach(backbone)
    elif changes(backbone, technique.tasks[0], partial(technique.attach, backbone)):
        raise UsageError(
            f"{type(technique).__name__} says starts_as_identity, and the backbone's outputs are "
            "others once it is attached. Are its hooks right? on_passage calls "
            "change(entered, output)."
        )
