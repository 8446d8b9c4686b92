"""Compare our models, optimiser steps and order of tasks with the recorded ones of a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from tools.parity.facts import OptimiserFacts, OrderFacts, read_facts
from tools.parity.golden import INPUTS, WEIGHTS, Golden
from tools.parity.outcome import SMALLEST_NORM, Outcome
from vlbench.backbones.encoder_decoder import EncoderDecoder
from vlbench.cards.load import load_task
from vlbench.checkpoints.weights import read_tensors
from vlbench.errors import DataError, NothingToReport, UsageError, VlbenchError
from vlbench.techniques.adapt import count, frozen_checksum, trained_parameters
from vlbench.training.optimiser import AdamW, linear_schedule, parameter_groups
from vlbench.training.train import task_order, token_losses

BACKBONES = ("bart", "t5")
FOLLOWUP = "followup"
OPTIMISER = "optim"
ORDER = "multitask_order"
SUFFIXES = (".json", ".safetensors")

LONGEST = 8
"""Tokens of a recorded answer, at most."""
BEAMS = (1, 5)
OF_FULL = ("vqa", "nlvr")
"""Tasks whose gradients are recorded whole for full fine-tuning; of the others, norms."""

WARMUP_RATIO = 0.1
CLIP_NORM = 5.0
FINAL = "final/"


class Listing(NamedTuple):
    """What a folder holds."""

    names: list[str]
    """Of golden files, without their suffix."""
    others: list[str]
    """JSON files that are not of this command."""


def list_goldens(folder: Path) -> Listing:
    """The golden files of a folder; half a pair is one too, and fails."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder.")
    files = {file.name for file in folder.iterdir() if file.suffix in SUFFIXES}
    names = sorted({Path(name).stem for name in files})
    others = [
        f"{name}.json"
        for name in names
        if name != ORDER and f"{name}.safetensors" not in files and _kind(name) is None
    ]
    goldens = [name for name in names if f"{name}.json" not in others]
    if not goldens:
        raise NothingToReport(
            f"{folder}: no golden files here (looked for pairs of .safetensors and .json)."
        )
    return Listing(goldens, others)


def check_folder(folder: Path, names: list[str]) -> Iterator[Outcome]:
    """Compare one after the other; an error is a fault of that file and stops no other."""
    for name in names:
        outcome = Outcome(name)
        try:
            _check(folder, outcome)
        except VlbenchError as error:
            outcome.fault(" ".join(str(error).split()))
        except Exception as error:  # whatever sizes or inputs that do not fit make of it
            reason = " ".join(str(error).split())
            outcome.fault(f"cannot be computed: {type(error).__name__}: {reason}")
        yield outcome


def _check(folder: Path, outcome: Outcome) -> None:
    name = outcome.name
    file = folder / f"{name}.json"
    if name == ORDER:
        check_order(read_facts(file, OrderFacts), outcome)
        return
    missing = [suffix for suffix in SUFFIXES if not (folder / f"{name}{suffix}").is_file()]
    if missing:
        raise DataError(f"half a pair: no {name}{missing[0]}")
    kind = _kind(name)
    if kind == OPTIMISER:
        facts = read_facts(file, OptimiserFacts)
        final = read_tensors(file.with_suffix(".safetensors"))
        start = Golden(folder / f"{name.removeprefix(f'{OPTIMISER}__')}.json")
        if not _is_left_out(start, outcome):
            check_optimiser(start, facts, final, outcome)
    elif kind is not None:
        golden = Golden(file)
        prefix = f"{FOLLOWUP}__" if kind == FOLLOWUP else ""
        named = f"{prefix}{golden.facts.backbone}__{golden.facts.method}"
        if name != named or golden.is_followup != (kind == FOLLOWUP):
            raise DataError(f"its JSON is of {named}")
        if not _is_left_out(golden, outcome):
            check_model(golden, outcome)
    else:
        raise DataError("not a golden's name: none of {bart,t5}__*, optim__*, followup__*")


def _is_left_out(golden: Golden, outcome: Outcome) -> bool:
    if golden.lora_is_left_out:
        outcome.not_run = "the authors' T5 has no LoRA in it: not run"
    return golden.lora_is_left_out


def _kind(name: str) -> str | None:
    kind, separator, rest = name.partition("__")
    is_known = separator and rest and kind in (*BACKBONES, FOLLOWUP, OPTIMISER)
    return kind if is_known else None


@dataclass
class Pass:
    """What a batch of a task gives, forward and backward, by the authors' names."""

    outputs: dict[str, Tensor]
    norms: dict[str, float | None]
    """Of each gradient; None: there is none."""
    gradients: dict[str, Tensor]
    total_norm: float | None


def check_model(golden: Golden, outcome: Outcome) -> None:
    """Compare everything that the pair holds; what it should hold and does not is a fault."""
    outcome.technique = golden.card.technique
    _check_names(golden, outcome)
    computed = {task: compute(golden, task) for task in golden.facts.tasks}
    for task, ours in computed.items():
        compare(task, ours, recorded(golden, task), outcome)
        _check_generated(golden, task, outcome)
    if outcome.excesses:
        outcome.settle(_rounding(golden, computed))


def _check_names(golden: Golden, outcome: Outcome) -> None:
    facts, trained = golden.facts, trained_parameters(golden.model).keys()
    ours = [name.theirs[0] for name in golden.names if name.ours in trained]
    outcome.compare_names("trained", ours, facts.trainable)
    counts = count(golden.model)
    outcome.compare_numbers("trainable parameters", counts.trainable, facts.trainable_params)
    outcome.compare_numbers("all parameters", counts.total, facts.total_params)
    aliases = {other: name.theirs[0] for name in golden.names for other in name.theirs[1:]}
    outcome.compare_names(
        "shared tensors",
        [f"{other} = {first}" for other, first in aliases.items()],
        [f"{other} = {first}" for other, first in facts.aliases.items()],
    )
    outcome.compare_names("tensors of the file", _expected(golden), golden.tensors)


def _expected(golden: Golden) -> set[str]:
    """The tensors that the file should hold."""
    names = {f"{WEIGHTS}{name.theirs[0]}" for name in golden.names}
    for task, facts in golden.facts.tasks.items():
        names |= {f"in/{task}/{name}" for name in INPUTS}
        names |= {f"out/{task}/{name}" for name in _outputs(golden)}
        names |= {f"out/{task}/{name}" for name in _answers(golden, task).values()}
        if _has_gradients(golden, task):
            with_norm = [name for name, norm in facts.grad_norm.items() if norm is not None]
            names |= {f"grad/{task}/{name}" for name in with_norm}
    return names


def _outputs(golden: Golden) -> list[str]:
    """What is recorded of a task's forward pass."""
    if golden.is_followup:
        return ["logits", "loss"]
    return ["encoder_last_hidden_state", "logits", "loss", "per_token_loss"]


def _answers(golden: Golden, task: str) -> dict[int, str]:
    """Number of beams -> the recorded answers; none where the task has choices."""
    if golden.is_followup or load_task(golden.batch(task).task).choices:
        return {}
    return {beams: f"generate_beams{beams}" for beams in BEAMS}


def _has_gradients(golden: Golden, task: str) -> bool:
    """Whether a task's gradients are recorded whole."""
    return not golden.is_followup and (golden.card.technique != "full" or task in OF_FULL)


def compute(golden: Golden, task: str) -> Pass:
    """Pass the recorded batch through our model."""
    model, batch = golden.model, golden.batch(task)
    outputs: dict[str, Tensor] = {}
    if not golden.is_followup:
        with torch.no_grad():
            backbone = cast(EncoderDecoder, model.backbone)
            outputs["encoder_last_hidden_state"] = backbone.encode(batch)[0]
    model.zero_grad(set_to_none=True)
    logits = model(batch)
    value = golden.loss(logits, batch)
    value.backward()  # type: ignore[no-untyped-call]
    outputs["logits"] = logits.detach()
    outputs["per_token_loss"] = token_losses(logits.detach(), batch.target_ids)
    outputs["loss"] = value.detach().reshape(1)
    every = golden.gradients()
    norms = {name: None if grad is None else grad.norm().item() for name, grad in every.items()}
    gradients = {name: grad for name, grad in every.items() if grad is not None}
    total = torch.stack([grad.norm() for grad in gradients.values()]).norm().item()
    return Pass(outputs, norms, gradients, total)


def recorded(golden: Golden, task: str) -> Pass:
    """What the authors' model gave."""
    facts = golden.facts.tasks[task]
    outputs = {name: golden.tensor(f"out/{task}/{name}") for name in _outputs(golden)}
    outputs["loss in JSON"] = torch.tensor([facts.loss])
    gradients = golden.of(f"grad/{task}/")
    return Pass(outputs, facts.grad_norm, gradients, facts.total_grad_norm)


KINDS = {
    "encoder_last_hidden_state": "states",
    "logits": "logits",
    "per_token_loss": "loss",
    "loss": "loss",
    "loss in JSON": "loss",
}


def compare(task: str, ours: Pass, theirs: Pass, outcome: Outcome) -> None:
    """Note the errors of all that theirs has."""
    for name, tensor in theirs.outputs.items():
        output = ours.outputs[name.removesuffix(" in JSON")]
        outcome.compare_tensors(KINDS[name], output, tensor, f"{task} {name}")
    if ours.total_norm is not None and theirs.total_norm is not None:
        outcome.compare_norms(ours.total_norm, theirs.total_norm, f"{task} all gradients")
    outcome.compare_names(f"{task} gradients", ours.norms, theirs.norms)
    for name in ours.norms.keys() & theirs.norms.keys():
        where, mine, norm = f"{task} gradient of {name}", ours.norms[name], theirs.norms[name]
        if mine is None or norm is None:
            if (mine is None) != (norm is None):
                outcome.fault(f"{where}: {'theirs' if mine is None else 'ours'} only")
            continue
        if norm < SMALLEST_NORM:
            continue
        outcome.compare_norms(mine, norm, where)
        if name in theirs.gradients:
            outcome.compare_gradients(ours.gradients[name], theirs.gradients[name], where)


def _check_generated(golden: Golden, task: str, outcome: Outcome) -> None:
    for beams, name in _answers(golden, task).items():
        theirs = golden.tensor(f"out/{task}/{name}").tolist()
        ours = golden.model.generate(golden.batch(task), beams=beams, max_length=LONGEST)
        differing = sum(one != other for one, other in zip(ours, theirs, strict=False))
        differing += abs(len(ours) - len(theirs))
        outcome.compare("generated", differing, f"{task} answers of {beams} beams")


def _rounding(golden: Golden, computed: Mapping[str, Pass]) -> dict[str, float]:
    """What float32 rounds off: our model against itself in float64, by kind."""
    exact, rounding = golden.in_double(), Outcome(golden.name)
    for task, ours in computed.items():
        compare(task, ours, compute(exact, task), rounding)
    return rounding.shares


@dataclass
class Trace:
    """Steps and where they end, by the authors' names."""

    losses: list[float]
    norms: list[float]
    rates: list[float]
    final: dict[str, Tensor]


def check_optimiser(
    start: Golden, facts: OptimiserFacts, final: Mapping[str, Tensor], outcome: Outcome
) -> None:
    """Take the recorded steps from the weights of `start`."""
    outcome.technique = start.card.technique
    warmup = int(WARMUP_RATIO * facts.total_steps)
    outcome.compare_numbers("steps of warm-up", warmup, facts.warmup_steps)
    outcome.compare_names("spared weight decay", _spared(start), facts.no_decay_trainables)
    before = frozen_checksum(start.model)
    ours = train(start, facts)
    if frozen_checksum(start.model) != before:
        outcome.fault("a frozen tensor changed")
    theirs = Trace(
        losses=[step.loss for step in facts.steps],
        norms=[step.grad_norm_before_clip for step in facts.steps],
        rates=[step.lr_used for step in facts.steps],
        final={name.removeprefix(FINAL): tensor for name, tensor in final.items()},
    )
    compare_traces(ours, theirs, outcome)
    if outcome.excesses:
        exact = Outcome(outcome.name)
        compare_traces(ours, train(start.in_double(), facts), exact)
        outcome.settle(exact.shares)


def compare_traces(ours: Trace, theirs: Trace, outcome: Outcome) -> None:
    """Note the errors of every step, and of the weights at the end."""
    outcome.compare_names("final weights", ours.final, theirs.final)
    for number, mine in enumerate(ours.losses):
        where = f"step {number + 1}"
        outcome.compare("loss", abs(mine - theirs.losses[number]), where)
        outcome.compare_norms(ours.norms[number], theirs.norms[number], where)
        outcome.compare("rates", abs(ours.rates[number] - theirs.rates[number]), where)
    for name in ours.final.keys() & theirs.final.keys():
        outcome.compare_tensors("weights", ours.final[name], theirs.final[name], f"final {name}")


def train(start: Golden, facts: OptimiserFacts) -> Trace:
    """Take the steps with our optimiser and schedule."""
    model, trained = start.model, trained_parameters(start.model)
    groups = parameter_groups(model, facts.weight_decay, model.undecayed())
    optimiser = AdamW(groups, lr=facts.lr, eps=facts.adam_eps)
    schedule = linear_schedule(optimiser, facts.total_steps, WARMUP_RATIO)
    trace = Trace([], [], [], {})
    for step in facts.steps:
        batch = start.batch(step.task)
        model.zero_grad(set_to_none=True)
        value = start.loss(model(batch), batch)
        value.backward()  # type: ignore[no-untyped-call]
        trace.losses.append(value.item())
        trace.norms.append(clip_grad_norm_(trained.values(), CLIP_NORM).item())
        trace.rates.append(float(optimiser.param_groups[0]["lr"]))
        optimiser.step()
        schedule.step()
    for name in start.names:
        if name.ours in trained:
            trace.final[name.theirs[0]] = trained[name.ours].detach()[name.rows].clone()
    return trace


def _spared(start: Golden) -> list[str]:
    """What trains and is spared weight decay."""
    model, trained = start.model, trained_parameters(start.model)
    spared = {id(p) for p in parameter_groups(model, 0.0, model.undecayed())[1]["params"]}
    return [
        name.theirs[0]
        for name in start.names
        if name.ours in trained and id(trained[name.ours]) in spared
    ]


def check_order(facts: OrderFacts, outcome: Outcome) -> None:
    """Our order for the same numbers of batches must be theirs, batch by batch."""
    outcome.technique = "order of tasks"
    for text, epochs in facts.orders.items():
        batches = json.loads(text)
        if not isinstance(batches, dict) or not all(isinstance(n, int) for n in batches.values()):
            raise DataError(f"orders: not numbers of batches by task: {text}")
        for epoch, theirs in epochs.items():
            seen = dict.fromkeys(batches, -1)
            ours = []
            for task in task_order(batches, epoch):
                seen[task] += 1
                ours.append((task, seen[task]))
            if ours != theirs:
                outcome.fault(f"epoch {epoch} of {text}: another order")
