"""Put a technique on a backbone: freeze all, attach, free what trains; count, prove and save it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from itertools import chain
from math import prod
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vlbench.backbones.base import Backbone, Batch
from vlbench.cards.checking import check, refuse
from vlbench.cards.schema import MethodCard
from vlbench.errors import UsageError
from vlbench.techniques import find_technique
from vlbench.techniques.base import Technique
from vlbench.tensors import copy_into, listed, unique_state

NEAR = 1e-3
"""Logits are equal up to this part of the largest: layers that were replaced round otherwise."""


class AdaptedModel(nn.Module):
    """A backbone with a technique's modules attached to it."""

    def __init__(self, backbone: Backbone, technique: Technique) -> None:
        super().__init__()
        self.backbone = backbone
        self.technique = technique

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, T, V) of the batch's targets."""
        return cast(Tensor, self.backbone(batch))

    def label_logits(self, batch: Batch) -> Tensor:
        """Logits (K, V) at the K label positions, in order: all that the loss needs."""
        return self.backbone.label_logits(batch)

    def generate(self, batch: Batch, beams: int, max_length: int) -> list[list[int]]:
        return self.backbone.generate(batch, beams, max_length)

    def choice_logits(self, batch: Batch, first_tokens: Sequence[int]) -> Tensor:
        return self.backbone.choice_logits(batch, first_tokens)

    def undecayed(self) -> list[nn.Parameter]:
        """What weight decay spares beside the biases of linear layers and layer norms."""
        return [*self.backbone.undecayed(), *self.technique.undecayed()]

    def checkpoint_activations(self) -> None:
        """Keep only each layer's input; the backward pass computes the rest once more."""
        if reason := self.technique.only_once:
            raise UsageError(
                f"--checkpoint-activations: the layers under '{type(self.technique).__name__}' "
                f"cannot be computed twice: {reason}. Leave it out."
            )
        self.backbone.checkpoint_activations()

    @contextmanager
    def answering(self, task: str) -> Iterator[None]:
        """Evaluation of one task's batches: what a technique keeps to answer lives in here."""
        was_training = self.training
        self.eval()
        try:
            with self.technique.folded(task):
                yield
        finally:
            self.train(was_training)


def adapt(backbone: Backbone, method: MethodCard, tasks: Sequence[str]) -> AdaptedModel:
    """Adapt a backbone as a resolved method card says; on the meta device too, for planning."""
    kind = find_technique(method.technique, method.folder)
    params, faults = check(kind.Params, method.params, ("params",))
    if params is None or faults:
        raise refuse(method.shown, faults)
    technique = kind(params, method.sharing, tasks)
    try:
        technique.check(backbone)
        backbone.requires_grad_(False)
        backbone.set_dropout(method.train.dropout)
        linears = (m for m in backbone.injectable.modules() if isinstance(m, nn.Linear))
        packed: set[Tensor] = (
            {m.weight for m in linears} if method.train.weights == "4bit" else set()
        )
        _attach(technique, backbone)
        trained = [*technique.trained(backbone, method.train.norms)]
        if _trains_projector(technique, backbone, method.train.projector):
            trained.append(backbone.visual)
        for part in trained:
            _free(part, packed)
        model = AdaptedModel(backbone, technique).train()
        _check_epochs(model, method.train.epochs)
    except UsageError as error:  # what does not fit this backbone
        raise UsageError(f"{method.shown}: {error}") from error
    return model


def _free(part: nn.Module | nn.Parameter, packed: set[Tensor]) -> None:
    """Let it train, in fp32 whatever the number format of what is frozen."""
    for parameter in [part] if isinstance(part, nn.Parameter) else part.parameters():
        if parameter in packed:
            raise UsageError("train.weights: 4bit weights cannot train. Should be bf16 or fp32.")
        parameter.data = parameter.data.float()
        parameter.requires_grad_(True)


def _trains_projector(technique: Technique, backbone: Backbone, wish: bool | None) -> bool:
    """Whether the projector trains: by the technique, else the card, else the backbone."""
    fixed = technique.projector
    if fixed is not None and wish not in (fixed, None):
        name, what = type(technique).__name__, "always" if fixed else "never"
        raise UsageError(f"train.projector: {name} {what} trains the projector: leave it out.")
    wishes = (fixed, wish, backbone.trains_visual)
    return next(is_trained for is_trained in wishes if is_trained is not None)


def _check_epochs(model: AdaptedModel, epochs: int) -> None:
    """Raise UsageError where nothing trains for some epochs, or something for none."""
    if bool(trained_parameters(model)) != bool(epochs):
        what = "0, and something would train" if not epochs else f"{epochs}, and nothing trains"
        should = "1 or more" if not epochs else "0: the model answers as it is"
        raise UsageError(f"train.epochs: {what}. Should be {should}.")


def _attach(technique: Technique, backbone: Backbone) -> None:
    """Attach; UsageError where that changes outputs that it should not, off the meta device."""
    device, task = backbone.token_embedding.device, technique.tasks[0]
    is_checked = technique.starts_as_identity and device.type != "meta"
    before = probe(backbone, backbone, task) if is_checked else None
    with device:
        technique.attach(backbone)
    if before is not None:
        difference = (probe(backbone, backbone, task) - before).abs().max()
        if not bool(difference <= NEAR * before.abs().max()):
            raise UsageError(
                f"{type(technique).__name__} says starts_as_identity, but attaching it changes "
                "the backbone's outputs. on_passage calls change(entered, output)."
            )


def probe(model: nn.Module, backbone: Backbone, task: str) -> Tensor:
    """Return the logits (1, 2, V) of a made-up example in evaluation; on the meta device too."""
    batch, is_meta = backbone.example(task), backbone.token_embedding.is_meta
    was_training = model.training
    model.eval()
    try:
        with TrueOnMeta() if is_meta else nullcontext(), torch.random.fork_rng(devices=[]):
            return cast(Tensor, model(batch))
    finally:
        model.train(was_training)


class TrueOnMeta(TorchFunctionMode):
    """Answer True where transformers asks whether a mask without values is all True."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return True if func is Tensor.__bool__ else func(*args, **(kwargs or {}))


def check_reached(model: AdaptedModel, tasks: Sequence[str], shown: str) -> None:
    """Raise UsageError where neither a task's logits nor the penalty depend on a trained tensor.

    On the meta device what needs values passes: a run checks again before it trains.
    """
    unreached = trained_parameters(model)
    try:
        outputs = (probe(model, model.backbone, task) for task in tasks)
        for output in chain([model.technique.penalty()], outputs):
            if output is not None and output.requires_grad:
                tensors = [*unreached.values()]
                gradients = torch.autograd.grad(output.sum(), tensors, allow_unused=True)
                pairs = zip(unreached.items(), gradients, strict=True)
                unreached = {name: p for (name, p), gradient in pairs if gradient is None}
            if not unreached:
                return
    except Exception:
        if model.backbone.token_embedding.is_meta:
            return
        raise
    if unreached:
        raise UsageError(
            f"{shown}: trained but never reached: {listed([*unreached])}. No output depends on it: "
            "attach it where the forward pass goes through, or leave it out of what trains."
        )


class Group(NamedTuple):
    """Parameter counts of one part of the model."""

    trainable: int
    total: int


class Counts(NamedTuple):
    """Parameter counts, whole and by disjoint groups; a tied tensor counts once."""

    trainable: int
    total: int
    groups: dict[str, Group]
    denominator: str
    whole: int
    """All that the model has, a picture tower included."""
    trains_projector: bool

    @property
    def percent(self) -> float:
        return 100 * self.trainable / self.total


def count(model: AdaptedModel) -> Counts:
    """Count a model's parameters; on the meta device too."""
    backbone = model.backbone
    parts: dict[str, list[nn.Parameter]] = {
        "technique": list(model.technique.parameters()),
        backbone.visual_name: list(backbone.visual.parameters()),
        "norms": [p for norm in backbone.norms() for p in norm.parameters()],
        "biases": backbone.biases(),
        "token table": [backbone.token_embedding],
        "rest of the backbone": list(backbone.counted()),
    }
    seen: set[nn.Parameter] = set()
    groups = {}
    for name, parameters in parts.items():
        fresh = set(parameters) - seen
        seen |= fresh
        trainable = sum(p.numel() for p in fresh if p.requires_grad)
        groups[name] = Group(trainable, sum(map(_size, fresh)))
    trainable, total = (sum(numbers) for numbers in zip(*groups.values(), strict=True))
    whole = sum(map(_size, model.parameters()))
    trains_projector = groups[backbone.visual_name].trainable > 0
    return Counts(trainable, total, groups, backbone.denominator, whole, trains_projector)


def _size(parameter: nn.Parameter) -> int:
    """How many numbers it holds, those of 4 bits each too."""
    quantised = getattr(parameter, "quant_state", None)
    return prod(quantised.shape) if quantised else parameter.numel()


def frozen_checksum(model: nn.Module) -> str:
    """sha256 over the names and bytes of every buffer and every parameter that does not train."""
    digest = sha256()
    for name, tensor in unique_state(model).items():
        if not tensor.requires_grad:
            data = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {data.dtype} {tuple(data.shape)}\n".encode())
            digest.update(data.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that train, by name, each once."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the trained tensors by name, as they are saved."""
    return {name: p.detach().contiguous() for name, p in trained_parameters(model).items()}


def load_trained_state(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy saved tensors into a model of the same card; names and shapes must fit."""
    copy_into(trained_parameters(model), tensors, source)


@contextmanager
def frozen_in_bf16(model: nn.Module) -> Iterator[None]:
    """Hold the weights of frozen linear layers in bf16 within the context.

    Autocast caches its copies of trained weights only: it would cast frozen ones at every step.
    Cast once they give the same numbers. A weight that an embedding has too stays, as lookups are
    not cast, and so do those that peft's layers wrap, which look at the type themselves.
    """
    looked_up = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    before: dict[nn.Parameter, Tensor] = {}
    for name, module in model.named_modules():
        is_plain = type(module) is nn.Linear and not name.endswith(".base_layer")
        if is_plain and not module.weight.requires_grad and module.weight not in looked_up:
            before[module.weight] = module.weight.data
    for parameter, data in before.items():
        parameter.data = data.bfloat16()
    try:
        yield
    finally:
        for parameter, data in before.items():
            parameter.data = data
