"""Our models against the authors': states, logits, losses, gradients and generated answers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vlbench.techniques.authors_names import authors_name
from vlbench.techniques.counting import count
from vlbench.techniques.freezing import trained_parameters
from vlbench.training.loss import token_losses

METHODS = (
    "full",
    "single_adapter",
    "multiple_adapters",
    "half_shared_up",
    "single_compacter",
)


@pytest.fixture(scope="module", params=METHODS)
def model_file(request: pytest.FixtureRequest, golden: Any) -> Any:
    return golden(request.param)


@pytest.fixture(scope="module", params=["vqa", "gqa", "nlvr", "caption"])
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@torch.no_grad()
def test_encoder_states_and_logits_are_the_authors(model_file: Any, task: str) -> None:
    batch = model_file.batch(task)
    hidden, mask = model_file.model.backbone.encode(batch)
    theirs = model_file.out(task, "encoder_last_hidden_state")
    torch.testing.assert_close(hidden[mask], theirs[mask], atol=1e-5, rtol=0)
    logits = model_file.model(batch)
    torch.testing.assert_close(logits, model_file.out(task, "logits"), atol=1e-5, rtol=0)


def test_losses_and_gradients_are_the_authors(model_file: Any, task: str) -> None:
    batch, model = model_file.batch(task), model_file.model
    model.zero_grad(set_to_none=True)
    logits = model(batch)
    each = token_losses(logits, batch.target_ids)
    torch.testing.assert_close(each, model_file.out(task, "per_token_loss"), atol=5e-6, rtol=0)
    value = model_file.loss(logits, batch)
    assert abs(value.item() - model_file.out(task, "loss").item()) <= 5e-6
    value.backward()
    norms = model_file.facts["tasks"][task]["grad_norm"]
    compared = 0
    for name, parameter in trained_parameters(model).items():
        their_name = authors_name(name, "vqa")
        if norms[their_name] is None:
            assert parameter.grad is None, f"{name} got a gradient from a batch of {task}"
            continue
        assert parameter.grad is not None, name
        stored = model_file.tensors.get(f"grad/{task}/{their_name}")
        if stored is None or norms[their_name] < 1e-4:
            continue
        error = (parameter.grad - stored).abs() / (stored.abs() + 1e-3)
        assert error.max() <= 1e-3, name
        compared += 1
    assert compared > 0 or not model_file.of(f"grad/{task}/")


@pytest.mark.parametrize("task", ["vqa", "gqa", "caption"])  # nlvr compares first tokens
@pytest.mark.parametrize("beams", [1, 5])
def test_generated_answers_are_the_authors(model_file: Any, task: str, beams: int) -> None:
    rows = model_file.model.generate(model_file.batch(task), beams=beams, max_length=8)
    assert rows == model_file.out(task, f"generate_beams{beams}").tolist()


def test_the_same_parameters_train_and_are_counted(model_file: Any) -> None:
    counts = count(model_file.model)
    assert counts.trainable == model_file.facts["trainable_params"]
    assert counts.total == model_file.facts["total_params"]
    names = {authors_name(name, "vqa") for name in trained_parameters(model_file.model)}
    assert names == set(model_file.facts["trainable"])


def test_a_choice_is_read_at_the_first_token_of_the_answer(model_file: Any) -> None:
    batch = model_file.batch("nlvr")
    prefix = torch.tensor([[0, -100, -100, -100, -100]]).expand(3, -1)  # decoder input 2, 0
    batch.target_ids = prefix
    with torch.no_grad():
        logits = model_file.model(batch)[:, 1, [5, 9]]
    torch.testing.assert_close(model_file.model.choice_logits(batch, [5, 9]), logits)
