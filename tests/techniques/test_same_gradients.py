"""Less work for the same loss and gradients: labels alone, shared inputs, frozen weights in bf16,
activations computed twice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.techniques.models import EACH, adapted, stirred
from tests.techniques.toys import toy_batch
from vlbench.errors import UsageError
from vlbench.techniques.adapt import AdaptedModel, frozen_in_bf16, trained_parameters
from vlbench.training.train import loss

LOSSES = ("score-weighted", "per-example", "per-token")
TABLES: dict[str, dict[str, Any]] = {
    "full": {"technique": "full"},
    "adapter": {"technique": "adapter", "sharing": "task"},
    "compacter": {"technique": "compacter"},
    "hyperformer": {"technique": "hyperformer"},
    "lora": {"technique": "lora"},
    "prompt": {"technique": "prompt", "params": {"length": 3, "hidden": 8}},
    "vl_pet": {"technique": "vl_pet"},
    "lst": {"technique": "lst", "params": {"initialisation": "random"}, "train": {"norms": False}},
}
EVERY = pytest.mark.parametrize("method", TABLES)
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


Gradients = tuple[Tensor, dict[str, Any]]


def gradients(
    model: AdaptedModel, batch: Any, kind: str = "score-weighted", *, all_logits: bool = False
) -> Gradients:
    model.zero_grad()
    logits = model(batch) if all_logits else model.label_logits(batch)
    value = loss(logits, batch.target_ids, batch.scores, kind)
    value.backward()
    return value.detach(), {name: p.grad for name, p in trained_parameters(model).items()}


def assert_same(one: Gradients, other: Gradients, exact: bool = False) -> None:
    atol, rtol = (0.0, 0.0) if exact else (3e-6, 1e-5)
    torch.testing.assert_close(one[0], other[0], atol=atol, rtol=rtol)
    assert any(gradient is not None for gradient in one[1].values())
    for name, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][name], atol=atol, rtol=rtol, msg=name)


@EACH
@EVERY
def test_labels_alone_and_shared_inputs_give_the_loss_and_gradients_of_all(
    kind: str, method: str
) -> None:
    model = stirred(adapted(kind, **TABLES[method]))
    apart, shared = batches()
    for card_loss in LOSSES:
        expected = gradients(model, apart, card_loss, all_logits=True)
        labels_alone = gradients(model, apart, card_loss)
        assert_same(labels_alone, expected)
        assert_same(gradients(model, shared, card_loss), labels_alone)


@EACH
def test_answers_are_those_of_an_input_each(kind: str) -> None:
    model = stirred(adapted(kind, technique="adapter"))
    apart, shared = batches()
    for beams in (1, 3):
        assert model.generate(shared, beams, 8) == model.generate(apart, beams, 8)
    choices = [model.choice_logits(batch, [4, 9]) for batch in (shared, apart)]
    torch.testing.assert_close(*choices)


def test_a_batch_without_targets_has_no_logits_and_no_loss() -> None:
    model, batch = adapted("bart", technique="full"), toy_batch()
    batch.target_ids = torch.full_like(batch.target_ids, -100)
    logits = model.label_logits(batch)
    assert logits.shape == (0, 128)
    for kind in LOSSES:
        assert loss(logits, batch.target_ids, batch.scores, kind).item() == 0


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
    model = stirred(adapted(kind, technique="peft", train={"norms": False}, params=params))
    batch = toy_batch()
    logits = model.label_logits(batch)
    torch.testing.assert_close(logits, model(batch)[batch.target_ids != -100])
    logits.sum().backward()
    assert all(p.grad is not None for p in trained_parameters(model).values())


@EACH
@pytest.mark.parametrize("method", sorted(TABLES.keys() - {"full"}))
def test_frozen_weights_cast_once_give_the_bits_of_autocast(kind: str, method: str) -> None:
    model, (batch, _) = stirred(adapted(kind, **TABLES[method])), batches()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.autocast("cpu", torch.bfloat16):
        expected = gradients(model, batch)
        with frozen_in_bf16(model):
            weights = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
            assert torch.bfloat16 in {w.dtype for w in weights if not w.requires_grad}
            assert_same(gradients(model, batch), expected, exact=True)
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == before[name].dtype and torch.equal(tensor, before[name]), name


def test_an_embedding_and_what_is_tied_to_it_are_not_cast_and_all_comes_back() -> None:
    model = nn.ModuleDict(
        {"table": nn.Embedding(5, 4), "head": nn.Linear(4, 5), "own": nn.Linear(4, 5)}
    )
    model["head"].weight = model["table"].weight
    data = model.requires_grad_(False)["own"].weight.data
    with pytest.raises(KeyError), frozen_in_bf16(model):  # training breaks off
        assert model["table"].weight.dtype == torch.float32
        assert model["own"].weight.dtype == torch.bfloat16
        raise KeyError
    assert model["own"].weight.data_ptr() == data.data_ptr()


@EACH
@pytest.mark.parametrize("method", sorted(TABLES.keys() - {"lst", "hyperformer"}))
def test_activations_computed_twice_give_the_same_with_less_kept(kind: str, method: str) -> None:
    model = stirred(adapted(kind, **{**TABLES[method], "train": {"dropout": 0.2}})).train()
    batch, _ = batches()

    def kept() -> tuple[Gradients, int]:
        """Loss and gradients, and the bytes kept for the backward pass."""
        sizes: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        torch.manual_seed(3)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss(model.label_logits(batch), batch.target_ids, batch.scores, "per-example")
        torch.manual_seed(3)
        return gradients(model, batch), sum(sizes.values())

    expected, size = kept()
    model.checkpoint_activations()
    again, less = kept()
    assert torch.equal(again[0], expected[0])
    assert_same(again, expected)
    assert less < 0.8 * size


@pytest.mark.parametrize("technique", ["lst", "hyperformer", "hyperformer+prompt"])
def test_what_cannot_be_computed_twice_refuses(technique: str) -> None:
    params = TABLES["lst"]["params"] if technique == "lst" else {}
    model = adapted("bart", technique=technique, params=params, train={"norms": False})
    with pytest.raises(UsageError, match="cannot be computed twice"):
        model.checkpoint_activations()
