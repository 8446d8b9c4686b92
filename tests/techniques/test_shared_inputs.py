"""Examples with the same text and pictures pass the encoder once: the same loss and gradients."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.techniques.models import adapted, stirred
from tests.techniques.toys import toy_batch
from vlbench.techniques.adapt import AdaptedModel, trained_parameters
from vlbench.training.train import loss

TABLES: dict[str, dict[str, Any]] = {
    "full": {"technique": "full"},
    "adapter": {"technique": "adapter", "sharing": "task"},
    "compacter": {"technique": "compacter"},
    "hyperformer": {"technique": "hyperformer"},
    "lora": {"technique": "lora"},
    "prompt": {"technique": "prompt", "params": {"length": 3, "hidden": 8}},
    "vl_pet": {"technique": "vl_pet"},
    "lst": {
        "technique": "lst",
        "params": {"initialisation": "random"},
        "train": {"norms": False},
    },
}
INPUTS = torch.tensor([1, 0, 1, 1, 0])
"""Five examples on two inputs."""


def batches() -> tuple[SimpleNamespace, SimpleNamespace]:
    """The five with an input each, and on shared ones."""
    toy = toy_batch()
    targets = torch.randint(3, 100, (5, 6), generator=torch.Generator().manual_seed(1))
    targets[torch.arange(6)[None] > torch.arange(1, 6)[:, None]] = -100
    common = {"task": "one", "target_ids": targets, "scores": torch.linspace(0.3, 1.0, 5)}
    apart = {"input_ids": toy.input_ids[INPUTS], "features": toy.features[INPUTS]}
    shared = {"input_ids": toy.input_ids, "features": toy.features, "inputs": INPUTS}
    return SimpleNamespace(**common, **apart), SimpleNamespace(**common, **shared)


def gradients(model: AdaptedModel, batch: Any) -> tuple[torch.Tensor, dict[str, Any]]:
    model.zero_grad()
    value = loss(model.label_logits(batch), batch.target_ids, batch.scores, "score-weighted")
    value.backward()
    return value.detach(), {name: p.grad for name, p in trained_parameters(model).items()}


@pytest.mark.parametrize("kind", ["bart", "t5"])
@pytest.mark.parametrize("method", TABLES)
def test_loss_and_gradients_are_those_of_an_input_each(kind: str, method: str) -> None:
    model = stirred(adapted(kind, **TABLES[method]))
    apart, shared = batches()
    expected, expected_gradients = gradients(model, apart)
    value, found = gradients(model, shared)
    torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-6)
    for name, gradient in found.items():
        torch.testing.assert_close(
            gradient, expected_gradients[name], atol=1e-6, rtol=1e-5, msg=name
        )


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_answers_are_those_of_an_input_each(kind: str) -> None:
    model = stirred(adapted(kind, technique="adapter")).eval()
    apart, shared = batches()
    for beams in (1, 3):
        assert model.generate(shared, beams, 8) == model.generate(apart, beams, 8)
    torch.testing.assert_close(
        model.choice_logits(shared, [4, 9]), model.choice_logits(apart, [4, 9])
    )
