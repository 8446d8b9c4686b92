"""AdaLoRA (Zhang et al., 2023, https://arxiv.org/abs/2303.10512) needs more than peft's layers.

Its update is P diag(E) Q. A penalty holds P and Q near orthogonal, and after each step the rank
budget falls from `init_r` to `target_r` a matrix: for `tinit` steps not at all, then cubically, and
for the last `tfinal` steps not any more. peft computes importance and masks; this says when.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vlbench.cards.checking import Fault
from vlbench.errors import UsageError

CONFIG = "AdaLoraConfig"
PHASES = ("tinit", "tfinal")
"""Lengths of the first and the last phase: steps, or below 1 shares of the run's steps."""
SET_BY_THE_RUN = {"total_step": 1}
"""Not for a card to give: any value that peft takes, until the run's own is known."""


def schedule_faults(name: str, given: Mapping[str, Any]) -> list[Fault]:
    """What peft would find out in the midst of training, or not in words."""
    if name != CONFIG:
        return []
    faults = [
        Fault((key,), f"Should be a number of steps, or below 1 a share of them, found {value}.")
        for key in PHASES
        if (value := given.get(key, 0)) < 0 or (value >= 1 and value != int(value))
    ]
    if sum(value for key in PHASES if (value := given.get(key, 0)) < 1) >= 1:
        faults.append(Fault(("tfinal",), "Shares of the run must leave steps between the phases."))
    first, last = given.get("init_r", 12), given.get("target_r", 8)
    if not 0 < last < first:
        faults.append(Fault(("target_r",), f"Should be above 0 and below init_r={first}."))
    for key in ("beta1", "beta2"):
        if not 0 < given.get(key, 0.85) < 1:
            faults.append(Fault((key,), "Should be between 0 and 1."))
    return faults


class RankBudget:
    """Drives the rank allocation of a model that peft's AdaLoraModel made."""

    def __init__(self, tuner: Any, given: Mapping[str, Any]) -> None:
        self._tuner = tuner
        self._name: str = tuner.trainable_adapter_name
        self._phases = [float(given.get(key, 0)) for key in PHASES]

    @property
    def _config(self) -> Any:
        return self._tuner.peft_config[self._name]

    def penalty(self) -> Tensor:
        """orth_reg_weight x the mean of |M M^T - I| over all P and Q, M of r rows; Frobenius."""
        norms = []
        for layer in self._tuner.model.modules():
            if isinstance(layer, self._tuner.tuner_layer_cls):
                for m in (layer.lora_A[self._name], layer.lora_B[self._name].T):  # (r, width)
                    gram = m @ m.T
                    norms.append(torch.linalg.norm(gram - torch.eye(len(gram), device=m.device)))
        weight: float = self._config.orth_reg_weight
        return weight * torch.stack(norms).mean()

    def stepped(self, number: int, total: int) -> None:
        """After optimiser step `number` of `total`: count importance, take away ranks."""
        if total < 2:
            return  # no step to tell importance from
        first, last = (_steps(phase, total) for phase in self._phases)
        if first >= total - last:
            raise UsageError(
                f"params: tinit={first} and tfinal={last} leave no steps of {total} between them."
            )
        config = self._config
        config.total_step, config.tinit, config.tfinal = total, first, min(last, total - 2)
        self._tuner.update_and_allocate(number)

    def state(self) -> dict[str, Any]:
        """What the rest of the steps depend on beside the weights."""
        allocator = self._tuner.rankallocator
        return {
            "importance": dict(allocator.ipt),
            "sensitivity": dict(allocator.exp_avg_ipt),
            "uncertainty": dict(allocator.exp_avg_unc),
            "pattern": self._config.rank_pattern,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        allocator = self._tuner.rankallocator
        device = next(self._tuner.parameters()).device
        allocator.ipt, allocator.exp_avg_ipt, allocator.exp_avg_unc = (
            {name: tensor.to(device) for name, tensor in state[what].items()}
            for what in ("importance", "sensitivity", "uncertainty")
        )
        self._config.rank_pattern = state["pattern"]


def _steps(phase: float, total: int) -> int:
    return int(phase * total) if phase < 1 else int(phase)
