"""AdaLoRA's penalty and schedule, which are the training loop's to drive."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from tests.techniques.toys import TASKS, toy_backbone, toy_batch
from vlbench.cards.checking import check
from vlbench.cards.schema import MethodCard
from vlbench.errors import UsageError
from vlbench.techniques.adapt import (
    AdaptedModel,
    adapt,
    frozen_checksum,
    load_trained_state,
    trained_parameters,
    trained_state,
)
from vlbench.techniques.peft import PeftParams
from vlbench.training.train import loss

PARAMS: dict[str, Any] = {
    "config": "AdaLoraConfig",
    "target_modules": ["query", "feed_forward_in"],
    "init_r": 6,
    "target_r": 2,
    "tinit": 0.2,
    "tfinal": 0.3,
}


def adapted(**changes: Any) -> AdaptedModel:
    params = {**PARAMS, **changes}
    card = MethodCard(name="test", title="Test", technique="peft", params=params)
    return adapt(toy_backbone("bart"), card, TASKS).eval()


def go(model: AdaptedModel, optimiser: torch.optim.Optimizer, first: int, last: int) -> list[int]:
    """Steps `first` to `last` of 20; the ranks left after each."""
    batch, ranks = toy_batch(), []
    for number in range(first, last + 1):
        value = loss(model(batch), batch.target_ids, batch.scores, "per-example")
        (value + model.technique.penalty()).backward()
        optimiser.step()
        model.technique.stepped(number, 20)
        optimiser.zero_grad(set_to_none=True)
        ranks.append(sum(int(e.count_nonzero()) for e in singular_values(model)))
    return ranks


def singular_values(model: AdaptedModel) -> list[torch.Tensor]:
    return [p for name, p in trained_parameters(model).items() if ".lora_E." in name]


def adamw(model: AdaptedModel) -> torch.optim.Optimizer:
    return torch.optim.AdamW(trained_parameters(model).values(), lr=1e-2)


def test_ranks_fall_from_the_first_to_the_target_within_the_runs_steps() -> None:
    model = adapted()
    before = frozen_checksum(model)
    ranks = go(model, adamw(model), 1, 20)
    matrices = len(singular_values(model))
    assert ranks[:4] == [6 * matrices] * 4  # a fifth of 20
    assert all(later <= earlier for earlier, later in pairwise(ranks))
    assert ranks[13:] == [2 * matrices] * 7  # none of the last 0.3 x 20, nor the step before
    assert frozen_checksum(model) == before


def test_the_penalty_is_pefts() -> None:
    model, batch = adapted(), toy_batch()
    language, tuner = model.backbone.language, model.technique._adalora
    words = {"input_ids": batch.input_ids, "labels": batch.target_ids}
    with torch.no_grad():
        difference = tuner(**words).loss - language(**words).loss
    torch.testing.assert_close(model.technique.penalty(), difference, atol=1e-5, rtol=1e-5)
    assert model.technique.penalty().requires_grad


@pytest.mark.parametrize("interrupted", [8, 17])
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(interrupted: int) -> None:
    whole, first, second = adapted(), adapted(), adapted()
    for model in (first, second):
        load_trained_state(model, trained_state(whole), "start")
    optimisers = [adamw(model) for model in (whole, first, second)]
    go(whole, optimisers[0], 1, 20)
    go(first, optimisers[1], 1, interrupted)
    load_trained_state(second, trained_state(first), "checkpoint")
    second.technique.load_training_state(first.technique.training_state())
    optimisers[2].load_state_dict(optimisers[1].state_dict())
    go(second, optimisers[2], interrupted + 1, 20)
    for name, tensor in trained_state(whole).items():
        assert torch.equal(trained_state(second)[name], tensor), name


@pytest.mark.parametrize("total", [1, 2, 3])
def test_a_run_of_few_steps_works(total: int) -> None:
    model, batch = adapted(), toy_batch()
    for number in range(1, total + 1):
        loss(model(batch), batch.target_ids, batch.scores, "per-example").backward()
        model.technique.stepped(number, total)


def test_phases_in_steps_that_do_not_fit_the_run_are_refused() -> None:
    model = adapted(tinit=15, tfinal=10)
    with pytest.raises(UsageError, match="tinit=15 and tfinal=10 leave no steps of 20"):
        model.technique.stepped(1, 20)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"tinit": -1}, "params.tinit"),
        ({"tfinal": 2.5}, "params.tfinal"),
        ({"tinit": 0.5, "tfinal": 0.6}, "params.tfinal"),
        ({"target_r": 6}, "params.target_r"),
        ({"beta1": 1.5}, "params.beta1"),
        ({"total_step": 100}, "params.total_step"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(changes: dict[str, Any], key: str) -> None:
    faults = check(PeftParams, {**PARAMS, **changes}, ("params",))[1]
    assert [fault.key for fault in faults] == [key]


def test_other_tuners_have_no_penalty_and_no_state() -> None:
    card = MethodCard(name="test", title="Test", technique="peft", params={"config": "LoraConfig"})
    technique = adapt(toy_backbone("bart"), card, TASKS).technique
    assert technique.penalty() is None
    assert technique.training_state() == {}
    technique.stepped(1, 2)
