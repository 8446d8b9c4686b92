"""The gradient of a batch: over its parts and over the processes that share it, penalty included.

However it is divided, each part's mean loss counts by what the loss is a mean over, so that the sum
is the whole batch's: examples, or target tokens (loss.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest

import torch
from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache
from torch import Tensor

from vlbench.data.batches import Batch
from vlbench.errors import RunFailed
from vlbench.techniques.adapt import AdaptedModel
from vlbench.techniques.freezing import trained_parameters
from vlbench.tensors import listed, not_finite
from vlbench.training.loss import loss, weight
from vlbench.training.parts import Parts
from vlbench.training.random_streams import random_state, set_random_state
from vlbench.training.ranks import Ranks

LOWER_RATE = "A lower rate may help: --set train.learning_rate=..."
NAMED = 10
"""Examples that a message about a batch names."""


class Gradients:
    """Leaves a batch's gradient in the parameters."""

    def __init__(
        self,
        model: AdaptedModel,
        losses: Mapping[str, str],
        accelerator: Accelerator,
        ranks: Ranks,
        parts: Parts,
    ) -> None:
        self.model = model
        self.losses = losses
        """Task -> its card's loss."""
        self.accelerator = accelerator
        self.ranks = ranks
        self.parts = parts

    def compute(self, batch: Batch, number: int) -> tuple[float, int]:
        """This rank's share of the batch of step `number`: the whole's loss and examples."""
        whole, examples = self._whole(batch)
        mine, penalty = self._fitting(batch, whole)
        # A share without examples has no gradients, and the main rank alone has the penalty's.
        is_alike = examples >= self.ranks.count and penalty is None
        found = self.ranks.sum_gradients(self.model.parameters(), mine, is_alike).item()
        self._check_finite("Loss", found, batch, number)
        if penalty is not None:
            self._check_finite("The technique's penalty", penalty.item(), batch, number)
        return found, examples

    def _whole(self, batch: Batch) -> tuple[float, int]:
        """What the loss of the whole batch is a mean over, and its examples."""
        mine = weight(batch.target_ids, self.losses[batch.task])
        if self.ranks.count == 1:
            return float(mine), len(batch.ids)
        both = torch.tensor([mine, len(batch.ids)], device=self.accelerator.device)
        whole, total = self.ranks.sum(both).tolist()
        return whole, int(total)

    def _fitting(self, batch: Batch, whole: float) -> tuple[Tensor, Tensor | None]:
        """In smaller parts, from the same random numbers, where memory runs out."""
        device = self.accelerator.device
        state = random_state(device) if self.parts.is_auto else {}
        while True:
            try:
                return self._backward(batch, whole)
            except (RuntimeError, MemoryError) as error:
                if not self.parts.shrinks(error, len(batch.ids)):
                    raise
            self.model.zero_grad(set_to_none=True)
            clear_device_cache(garbage_collection=True)  # only now: the error held the activations
            set_random_state(state, device)

    def _backward(self, batch: Batch, whole: float) -> tuple[Tensor, Tensor | None]:
        """The share's part of the batch's loss, and the penalty: once in the sum over ranks."""
        kind = self.losses[batch.task]
        total = torch.zeros((), device=self.accelerator.device)
        penalty = to_add = self.model.technique.penalty()
        for part in self.parts.of(batch):
            share = float(weight(part.target_ids, kind)) / max(1.0, whole)
            value = self._mean_loss(part.to(self.accelerator.device), kind) * share
            total += value.detach()
            if to_add is not None and self.ranks.is_main:
                value, to_add = value + to_add, None
            self.accelerator.backward(value)
        return total, penalty

    def _mean_loss(self, batch: Batch, kind: str) -> Tensor:
        with self.accelerator.autocast():
            logits = self.model.counted_logits(batch)
        return loss(logits, batch.target_ids, batch.scores, kind)

    def check_norm(self, norm: Tensor, batch: Batch, number: int) -> None:
        """RunFailed where the gradient's norm is not finite, with the tensors that make it so."""
        if not math.isfinite(value := norm.item()):
            trained = trained_parameters(self.model).items()
            names = not_finite({name: p.grad for name, p in trained if p.grad is not None})
            what = f"The gradient of {listed(names)}" if names else "The gradient's norm"
            self._check_finite(what, value, batch, number)

    def _check_finite(self, what: str, value: float, batch: Batch, number: int) -> None:
        if math.isfinite(value):
            return
        ids, unreadable = self._gathered(batch.ids), self._gathered(batch.not_finite())
        weights = not_finite(trained_parameters(self.model))
        why = f"Not finite before it: {listed(weights)}. {LOWER_RATE}" if weights else LOWER_RATE
        if unreadable:
            why = f"The features of {_some(unreadable)} are not finite numbers."
        raise RunFailed(
            f"{what} is {value} at step {number} (task {batch.task}, a batch of {len(ids):,} "
            f"examples: {_some(ids)}). {why}"
        )

    def _gathered(self, ids: Sequence[str]) -> list[str]:
        """Those of all ranks."""
        shares = zip_longest(*self.ranks.gather(ids))
        return [each for row in shares for each in row if each is not None]


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - NAMED:,} more" if len(ids) > NAMED else ""
    return ", ".join(ids[:NAMED]) + more
