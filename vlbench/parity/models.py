"""A recorded model: its names and counts, then per task what comes out and flows back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vlbench.cards.load import load_task
from vlbench.parity.golden import INPUTS, WEIGHTS, Golden
from vlbench.parity.outcome import SMALLEST_NORM, Outcome
from vlbench.techniques.adapt import count, trained_parameters
from vlbench.training.train import token_losses

LONGEST = 8
"""Tokens of a recorded answer, at most."""
BEAMS = (1, 5)
OF_FULL = ("vqa", "nlvr")
"""Tasks whose gradients are recorded whole for full fine-tuning; of the others, norms."""


@dataclass
class Passage:
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
    found = ["logits", "loss"]
    return found if golden.is_followup else ["encoder_last_hidden_state", *found, "per_token_loss"]


def _answers(golden: Golden, task: str) -> dict[int, str]:
    """Number of beams -> the recorded answers; none where the task has choices."""
    if golden.is_followup or load_task(golden.batch(task).task).choices:
        return {}
    return {beams: f"generate_beams{beams}" for beams in BEAMS}


def _has_gradients(golden: Golden, task: str) -> bool:
    """Whether a task's gradients are recorded whole."""
    return not golden.is_followup and (golden.card.technique != "full" or task in OF_FULL)


def compute(golden: Golden, task: str) -> Passage:
    """Pass the recorded batch through our model."""
    model, batch = golden.model, golden.batch(task)
    outputs: dict[str, Tensor] = {}
    if not golden.is_followup:
        with torch.no_grad():
            outputs["encoder_last_hidden_state"] = model.backbone.encode(batch)[0]
    model.zero_grad(set_to_none=True)
    logits = model(batch)
    value = golden.loss(logits, batch)
    value.backward()  # type: ignore[no-untyped-call]
    outputs["logits"] = logits.detach()
    outputs["per_token_loss"] = token_losses(logits.detach(), batch.target_ids)
    outputs["loss"] = value.detach().reshape(1)
    found = golden.gradients()
    gradients = {name: gradient for name, gradient in found.items() if gradient is not None}
    norms = {name: None if each is None else each.norm().item() for name, each in found.items()}
    total = torch.stack([each.norm() for each in gradients.values()]).norm().item()
    return Passage(outputs, norms, gradients, total)


def recorded(golden: Golden, task: str) -> Passage:
    """What the authors' model gave."""
    facts = golden.facts.tasks[task]
    outputs = {name: golden.tensor(f"out/{task}/{name}") for name in _outputs(golden)}
    outputs["loss in JSON"] = torch.tensor([facts.loss])
    gradients = golden.of(f"grad/{task}/")
    return Passage(outputs, facts.grad_norm, gradients, facts.total_grad_norm)


KINDS = {
    "encoder_last_hidden_state": "states",
    "logits": "logits",
    "per_token_loss": "loss",
    "loss": "loss",
    "loss in JSON": "loss",
}


def compare(task: str, ours: Passage, theirs: Passage, outcome: Outcome) -> None:
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


def _rounding(golden: Golden, computed: Mapping[str, Passage]) -> dict[str, float]:
    """What float32 rounds off: our model against itself in float64, by kind."""
    exact, found = golden.in_double(), Outcome(golden.name)
    for task, ours in computed.items():
        compare(task, ours, compute(exact, task), found)
    return found.shares
