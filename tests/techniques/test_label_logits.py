"""The output layer only where a label counts: the same loss, the same gradients."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from tests.techniques.models import adapted, stirred
from tests.techniques.toys import TASKS, toy_backbone, toy_batch
from vlbench.backbones.base import only_at
from vlbench.techniques.adapt import trained_parameters
from vlbench.training.train import LOSSES, loss

TABLES: dict[str, dict[str, Any]] = {
    "full": {"technique": "full"},
    "adapter": {"technique": "adapter"},
    "prompt": {"technique": "prompt", "params": {"length": 3, "hidden": 8}},
    "lst": {
        "technique": "lst",
        "params": {"initialisation": "random"},
        "train": {"norms": False},
    },
}
EACH = pytest.mark.parametrize("kind", ["bart", "t5"])


@EACH
@pytest.mark.parametrize("method", TABLES)
def test_loss_and_gradients_are_those_of_all_logits(kind: str, method: str) -> None:
    model = stirred(adapted(kind, **TABLES[method]))
    batch = toy_batch()
    for card_loss in LOSSES:
        found = []
        for logits in (model.label_logits(batch), model(batch)):
            value = loss(logits, batch.target_ids, batch.scores, card_loss)
            model.zero_grad()
            value.backward()
            gradients = {name: p.grad for name, p in trained_parameters(model).items()}
            found.append((value.detach(), gradients))
        (value, gradients), (expected, expected_gradients) = found
        torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-6)
        for name, gradient in gradients.items():
            torch.testing.assert_close(
                gradient, expected_gradients[name], atol=1e-6, rtol=1e-5, msg=name
            )


@EACH
def test_they_are_the_rows_of_all_logits_that_count(kind: str) -> None:
    backbone = toy_backbone(kind).eval()
    batch = toy_batch()
    logits = backbone.label_logits(batch)
    assert logits.shape == (7, 128)
    torch.testing.assert_close(logits, backbone(batch)[batch.target_ids != -100])


def test_a_batch_without_targets_has_no_logits_and_no_loss() -> None:
    model = adapted("bart", technique="full")
    batch = toy_batch()
    batch.target_ids = torch.full_like(batch.target_ids, -100)
    logits = model.label_logits(batch)
    assert logits.shape == (0, 128)
    assert loss(logits, batch.target_ids, batch.scores, "per-example").item() == 0


def test_a_copied_model_chooses_for_itself() -> None:
    model = adapted("bart", TASKS, technique="adapter")
    twin = copy.deepcopy(model)
    batch = toy_batch()
    with only_at(batch.target_ids == 11, model.backbone.language.lm_head):
        assert twin(batch).shape == (2, 4, 128)
        assert model(batch).shape == (1, 128)


def test_after_an_error_all_logits_are_back() -> None:
    backbone = toy_backbone("bart").eval()
    batch = toy_batch()
    mask, output = torch.ones(9, 9, dtype=torch.bool), backbone.language.lm_head
    with pytest.raises(IndexError), only_at(mask, output):
        backbone(batch)
    assert backbone(batch).shape == (2, 4, 128)


PEFT = {"technique": "peft", "train": {"norms": False}}


@EACH
@pytest.mark.parametrize(
    "params",
    [
        {"config": "LoraConfig", "target_modules": ["lm_head"]},
        {"config": "LoraConfig", "target_modules": ["query"], "modules_to_save": ["lm_head"]},
        {"config": "IA3Config", "target_modules": ["lm_head"], "feedforward_modules": []},
    ],
)
def test_the_output_layer_may_be_another_one(kind: str, params: dict[str, Any]) -> None:
    model = stirred(adapted(kind, **PEFT, params=params))
    batch = toy_batch()
    logits = model.label_logits(batch)
    torch.testing.assert_close(logits, model(batch)[batch.target_ids != -100])
    logits.sum().backward()
    assert all(p.grad is not None for p in trained_parameters(model).values())


@EACH
def test_a_technique_may_put_its_own_in_the_output_layers_place(kind: str) -> None:
    model = adapted(kind, technique="frozen")
    language = model.backbone.language
    language.lm_head = torch.nn.Sequential(language.lm_head, torch.nn.Linear(128, 128))
    batch = toy_batch()
    expected = model(batch)[batch.target_ids != -100]
    torch.testing.assert_close(model.label_logits(batch), expected)
