"""The three losses of VL-Adapter's tasks: cross entropy of the target tokens, weighted differently.

Shapes: B batch, T target tokens, K of them count, V vocabulary. Targets of -100 do not count;
nothing is smoothed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from vlbench.backbones.counted import IGNORED
from vlbench.errors import UsageError, nearest


def token_losses(logits: Tensor, target_ids: Tensor) -> Tensor:
    """Cross entropy of each target token, 0 where ignored.

    (B, T, V), or (K, V) of those that count, and (B, T) -> (B, T).
    """
    counted = target_ids != IGNORED
    if logits.ndim == 3:
        logits = logits[counted]
    losses = functional.cross_entropy(logits.float(), target_ids[counted], reduction="none")  # (K,)
    return losses.new_zeros(target_ids.shape).masked_scatter(counted, losses)


def per_token(losses: Tensor, counts: Tensor, scores: Tensor) -> Tensor:
    """COCO captions: the mean over all target tokens of the batch."""
    return losses.sum() / counts.sum().clamp(min=1)


def per_example(losses: Tensor, counts: Tensor, scores: Tensor) -> Tensor:
    """The mean over examples of each one's mean over its tokens."""
    return (losses.sum(dim=1) / counts.clamp(min=1)).mean()


def score_weighted(losses: Tensor, counts: Tensor, scores: Tensor) -> Tensor:
    """VQA: as per example, each weighted by the score of the answer it was given."""
    return (scores.to(losses) * losses.sum(dim=1) / counts.clamp(min=1)).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "score-weighted": score_weighted,
    "per-example": per_example,
    "per-token": per_token,
}


def loss(logits: Tensor, target_ids: Tensor, scores: Tensor, kind: str) -> Tensor:
    """The batch's loss of a task card's `loss`: targets (B, T), scores (B,), and logits (B, T, V).

    Or logits (K, V) of the targets that count, in their order.
    """
    if kind not in LOSSES:
        raise UsageError(f"Unknown loss '{kind}'. {nearest(kind, LOSSES)}")
    counts = target_ids.ne(IGNORED).sum(dim=1)  # (B,)
    return LOSSES[kind](token_losses(logits, target_ids), counts, scores)


def weight(target_ids: Tensor, kind: str) -> Tensor:
    """What the loss is a mean over, counted in this batch: its target tokens, or its examples."""
    if kind == "per-token":
        return target_ids.ne(IGNORED).sum()
    return torch.tensor(len(target_ids), device=target_ids.device)
