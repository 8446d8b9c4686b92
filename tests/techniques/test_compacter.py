from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from vlbench.errors import UsageError
from vlbench.techniques.adapt import trained_parameters
from vlbench.techniques.compacter import KroneckerLinear
from vlbench.training.optimiser import AdamW, parameter_groups


def kronecker_sum(layer: Any) -> torch.Tensor:
    """H as the papers write it, product by product."""
    parts = [layer.left, layer.right] if layer.is_factorized else [layer.w]
    weights = (
        parts[0] if len(parts) == 1 else [left @ right for left, right in zip(*parts, strict=True)]
    )
    return sum(torch.kron(a, w) for a, w in zip(layer.rule, weights, strict=True))


@pytest.mark.parametrize("factorized", [False, True])
@pytest.mark.parametrize("shared_rule", [False, True])
@pytest.mark.parametrize("division", [1, 2, 4])
def test_the_matrix_is_a_sum_of_kronecker_products(
    toy: Any, factorized: bool, shared_rule: bool, division: int
) -> None:
    params = {"factorized": factorized, "shared_rule": shared_rule, "division": division}
    model = toy(technique="compacter", params={**params, "rank": 2})
    layer = model.technique.sites["encoder_0_feed_forward"].down.layers["all"]
    assert layer.matrix().shape == (32, 4)
    torch.testing.assert_close(layer.matrix(), kronecker_sum(layer))
    x = torch.randn(2, 3, 32)
    torch.testing.assert_close(layer(x), x @ kronecker_sum(layer) + layer.b)


def test_a_shared_rule_is_one_parameter_with_one_name(toy: Any) -> None:
    model = toy(technique="compacter", params={"shared_rule": True})
    rules = [name for name in trained_parameters(model) if name.endswith("rule")]
    assert rules == ["technique.rule"]
    own = toy(technique="compacter")
    assert sum(name.endswith("rule") for name in trained_parameters(own)) == 5 * 2


def test_factors_are_xavier_and_the_rule_has_the_cards_range(toy: Any) -> None:
    model = toy(technique="compacter", params={"init_range": 0.5, "reduction": 1})
    layers = [half.layers["all"] for s in model.technique.sites.values() for half in (s.down, s.up)]
    bound = 2**0.5 * (6 / (16 + 16)) ** 0.5
    largest = max(layer.w.abs().max().item() for layer in layers)
    assert 0.98 * bound < largest <= bound
    assert 0.4 < torch.stack([layer.rule for layer in layers]).std() < 0.6
    assert not any(layer.b.any() for layer in layers)


def test_matrices_are_built_once_while_answering_and_not_kept_afterwards(
    toy: Any, toy_batch: Any
) -> None:
    model = toy(technique="compacter", sharing="task")
    layers = [m for m in model.modules() if isinstance(m, KroneckerLinear)]
    calls: list[int] = []
    for layer in layers:
        layer.matrix = partial(_counted, calls, layer.matrix)
    for _ in range(2):
        with torch.no_grad():
            expected = model(toy_batch)
        calls.clear()
        with torch.no_grad(), model.answering(toy_batch.task):
            assert torch.equal(model(toy_batch), expected)
            assert torch.equal(model(toy_batch), expected)
            assert len(calls) == len(layers) / 2  # the other task's are not built
        assert all(layer.folded is None for layer in layers)
        model(toy_batch).square().mean().backward()
        AdamW(parameter_groups(model, 0.01), lr=0.1).step()


def _counted(calls: list[int], matrix: Any) -> Any:
    calls.append(1)
    return matrix()


@pytest.mark.parametrize("params", [{"division": 3}, {"reduction": 16, "division": 4}])
def test_a_width_that_does_not_divide_is_refused(toy: Any, params: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=f"params.division={params['division']} does not divide"):
        toy(technique="compacter", params=params)


def test_halves_are_shared_as_adapters_share_them(toy: Any) -> None:
    bottleneck = toy(technique="compacter", sharing="up").technique.sites["encoder_0_feed_forward"]
    assert list(bottleneck.down.layers) == ["one", "two"]
    assert list(bottleneck.up.layers) == ["all"]


def test_answers_in_inference_mode_leave_training_as_it_was(toy: Any, toy_batch: Any) -> None:
    model = toy(technique="compacter")
    with torch.inference_mode():
        seen = model(toy_batch)
    with torch.no_grad():
        assert torch.equal(model(toy_batch), seen)
    model(toy_batch).sum().backward()
