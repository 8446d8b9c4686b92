"""Recorded optimiser steps: AdamW, the schedule, clipping, and which tensors are spared decay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from vlbench.parity.facts import OptimiserFacts
from vlbench.parity.golden import Golden
from vlbench.parity.outcome import Outcome
from vlbench.techniques.adapt import frozen_checksum, trained_parameters
from vlbench.training.optimiser import AdamW, linear_schedule, parameter_groups

WARMUP_RATIO = 0.1
CLIP_NORM = 5.0
FINAL = "final/"


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
    compare(ours, theirs, outcome)
    if outcome.excesses:
        exact = Outcome(outcome.name)
        compare(ours, train(start.in_double(), facts), exact)
        outcome.settle(exact.shares)


def compare(ours: Trace, theirs: Trace, outcome: Outcome) -> None:
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
