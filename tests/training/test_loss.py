from __future__ import annotations

import pytest
import torch

from vlbench.errors import UsageError
from vlbench.training.train import loss, weight

LOGITS = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([[1, 2, 3], [4, -100, -100]])
SCORES = torch.tensor([0.3, 1.0])
NLL = -LOGITS.log_softmax(-1).gather(-1, TARGETS.clamp(min=0)[..., None])[..., 0]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("per-token", (NLL[0].sum() + NLL[1, 0]) / 4),
        ("per-example", (NLL[0].mean() + NLL[1, 0]) / 2),
        ("score-weighted", (0.3 * NLL[0].mean() + 1.0 * NLL[1, 0]) / 2),
    ],
)
def test_each_kind_averages_as_it_says(kind: str, expected: torch.Tensor) -> None:
    torch.testing.assert_close(loss(LOGITS, TARGETS, SCORES, kind), expected)


@pytest.mark.parametrize("kind", ["per-token", "per-example", "score-weighted"])
def test_a_batch_without_targets_costs_nothing(kind: str) -> None:
    assert loss(LOGITS, torch.full_like(TARGETS, -100), SCORES, kind).item() == 0


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'per-token'"):
        loss(LOGITS, TARGETS, SCORES, "per-tokn")


@pytest.mark.parametrize("kind", ["per-token", "per-example", "score-weighted"])
def test_the_losses_of_shares_by_their_weight_are_the_batchs(kind: str) -> None:
    shares = [slice(0, 1), slice(1, 2)]
    losses = [loss(LOGITS[s], TARGETS[s], SCORES[s], kind) for s in shares]
    weights = [weight(TARGETS[s], kind) for s in shares]
    whole = sum(each * part for each, part in zip(losses, weights, strict=True))
    torch.testing.assert_close(whole / sum(weights), loss(LOGITS, TARGETS, SCORES, kind))
    assert sum(weights) == (4 if kind == "per-token" else 2)
