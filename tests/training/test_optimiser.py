from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import pytest
import torch
from torch import nn

from vlbench.training.optimiser import AdamW, linear_schedule, parameter_groups


def by_hand(p: Any, grads: Sequence[Any], lr: float, decay: float) -> Any:
    """The update as the spec writes it, for a number or a tensor."""
    m = v = 0.0
    for t, g in enumerate(grads, start=1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        p -= lr * sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (v**0.5 + 1e-6)
        p -= lr * decay * p
    return p


def test_on_tensors_of_a_real_size_the_update_is_the_formula() -> None:
    torch.manual_seed(0)
    start = [torch.randn(300, 257), torch.randn(33)]  # vectors, threads and what is left of them
    params = [nn.Parameter(each.clone()) for each in start]
    grads = [
        [torch.randn_like(p) for _ in range(steps)]
        for p, steps in zip(start, (60, 20), strict=True)
    ]
    optimiser = AdamW(params, lr=1e-3, weight_decay=0.1)
    for step in range(60):
        params[0].grad = grads[0][step]
        params[1].grad = None if step % 3 else grads[1][step // 3]
        optimiser.step()
    for p, first, given in zip(params, start, grads, strict=True):
        torch.testing.assert_close(p.data, by_hand(first, given, 1e-3, 0.1), rtol=1e-5, atol=1e-6)


def test_without_a_gradient_nothing_moves_decays_or_counts() -> None:
    p, other = (nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(2))
    optimiser = AdamW([p, other], lr=0.01, weight_decay=0.1)
    for step in range(4):
        other.grad = torch.ones_like(other)
        p.grad = torch.full_like(p, 0.5) if step % 2 else None
        optimiser.step()
        if step == 0:
            assert torch.equal(p, torch.ones_like(p))
    assert p[0].item() == pytest.approx(by_hand(1.0, [0.5, 0.5], 0.01, 0.1), abs=1e-12)


def test_biases_of_linear_layers_and_norms_are_spared_and_nothing_else() -> None:
    class Kronecker(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.b = nn.Parameter(torch.zeros(3))

    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Embedding(4, 3), Kronecker())
    model[2].requires_grad_(False)
    decayed, spared = parameter_groups(model, 0.01)
    assert decayed["weight_decay"] == 0.01
    assert spared["weight_decay"] == 0.0
    assert set(spared["params"]) == {model[0].bias, model[1].bias}
    kronecker: Any = model[3]
    assert set(decayed["params"]) == {model[0].weight, model[1].weight, kronecker.b}


def test_the_schedule_rises_to_the_rate_and_falls_to_zero() -> None:
    optimiser = AdamW([nn.Parameter(torch.ones(1))], lr=2.0)
    schedule = linear_schedule(optimiser, total_steps=10, warmup_ratio=0.25)
    rates = []
    for _ in range(11):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert rates[:3] == [0.0, 1.0, 2.0]
    assert rates[10] == 0.0
    assert rates[6] == pytest.approx(1.0)
    linear_schedule(optimiser, total_steps=3, warmup_ratio=0.0)
    assert optimiser.param_groups[0]["lr"] == 2.0  # no warm-up starts at the rate
