"""What is true of every technique on a chat backbone: each method on a family, slow on two."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.backbones.families import BY_NAME, asked, batch_of, fresh, load, rows_of
from tests.techniques.models import card
from vlbench.data.chat import ChatBatch
from vlbench.errors import UsageError
from vlbench.techniques.adapt import (
    AdaptedModel,
    adapt,
    check_reached,
    count,
    frozen_checksum,
    load_trained_state,
    trained_parameters,
    trained_state,
)
from vlbench.training.optimiser import AdamW, parameter_groups
from vlbench.training.train import loss

TASKS = ("one", "two")
NEAR = 1e-5


class Method(NamedTuple):
    """A card's fields; what its technique adds starts as the identity, or not."""

    table: dict[str, Any]
    is_identity: bool = False


ALL_LINEAR = ["query", "key", "value", "output", "feed_forward_in", "feed_forward_out"]
PROMPT = {"length": 3, "hidden": 8}
WITHOUT_NORMS = {"norms": False}


def lora(**params: Any) -> dict[str, Any]:
    return {"technique": "lora", "params": {"rank": 4, "biases": False, **params}}


def peft(config: str, **params: Any) -> dict[str, Any]:
    return {"technique": "peft", "params": {"config": config, **params}, "train": WITHOUT_NORMS}


METHODS = {
    "adapter": Method({"technique": "adapter", "sharing": "task"}),
    "shared-adapter": Method({"technique": "adapter"}),
    "low-rank-adapter": Method({"technique": "low_rank_adapter", "sharing": "down"}),
    "compacter": Method({"technique": "compacter", "params": {"shared_rule": True}}),
    "hyperformer": Method({"technique": "hyperformer", "params": {"task_dim": 8, "hidden": 8}}),
    "lora": Method({**lora(), "sharing": "task"}, True),
    "lora-everywhere": Method(lora(targets=ALL_LINEAR), True),
    "prompt-tuning": Method({"technique": "prompt", "sharing": "task", "params": PROMPT}),
    "bitfit": Method({"technique": "bitfit", "params": {"missing": True}}, True),
    "norms": Method({"technique": "frozen"}, True),
    "frozen": Method({"technique": "frozen", "train": WITHOUT_NORMS}, True),
    "full": Method({"technique": "full"}, True),
    "peft-lora": Method(
        peft("LoraConfig", target_modules=["query", "feed_forward_out"], r=4), True
    ),
    "peft-dora": Method(
        peft("LoraConfig", target_modules=["q_proj", "v_proj"], r=4, use_dora=True), True
    ),
    "peft-all": Method(peft("LoraConfig", target_modules="all-linear", r=4), True),
    "adapter+prompt": Method({"technique": "adapter+prompt", "params": {"prompt": PROMPT}}),
    "lora+adapter": Method({"technique": "lora+adapter", "params": {"lora": {"rank": 4}}}),
}
PAIRS = [
    pytest.param(
        (family, method),
        marks=() if (i + j) % len(BY_NAME) == 0 else pytest.mark.slow,
        id=f"{method}-{family}",
    )
    for i, family in enumerate(BY_NAME)
    for j, method in enumerate(METHODS)
    if (i + j) % 4 == 0
]


@pytest.fixture(scope="module", params=PAIRS)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


@pytest.fixture(scope="module")
def batch(pair: tuple[str, str]) -> ChatBatch:
    backbone = load(pair[0])
    return batch_of(backbone, rows_of(backbone))


def adapted(pair: tuple[str, str], seed: int = 0, meta: bool = False) -> AdaptedModel:
    family, method = pair
    backbone = fresh(family, meta)
    torch.manual_seed(seed)
    table = METHODS[method].table
    train = {"dropout": 0.0, **table.get("train", {})}
    return adapt(backbone, card(**{**table, "train": train}), TASKS).eval()


def steps(model: AdaptedModel, batch: ChatBatch, number: int) -> list[float]:
    """The losses of some optimiser steps."""
    optimiser = AdamW(parameter_groups(model, 0.01, model.undecayed()), lr=3e-3)
    losses = []
    for _ in range(number):
        value = loss(model.label_logits(batch), batch.target_ids, batch.scores, "per-example")
        value.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(value.item())
    return losses


def test_what_trains_learns_and_the_rest_stays_bit_equal(
    pair: tuple[str, str], batch: ChatBatch, tmp_path: Path
) -> None:
    family, method = pair
    model, backbone = adapted(pair), load(family)
    if METHODS[method].is_identity:
        with torch.no_grad():
            expected = backbone.label_logits(batch)
            torch.testing.assert_close(model.label_logits(batch), expected, atol=NEAR, rtol=NEAR)
    check_reached(model, TASKS, method)
    frozen = frozen_checksum(model)
    first, *_, last = steps(model, batch, 4)
    assert last < first
    assert frozen_checksum(model) == frozen
    tower = {*model.backbone.parts.tower.parameters()} - {*model.backbone.visual.parameters()}  # type: ignore[attr-defined, operator]
    assert not any(parameter.requires_grad for parameter in tower)

    meta = adapted(pair, meta=True)
    assert count(meta) == count(model)
    shapes = {name: p.shape for name, p in trained_parameters(meta).items()}
    assert shapes == {name: p.shape for name, p in trained_parameters(model).items()}

    file = tmp_path / "adapter.safetensors"
    save_file(trained_state(model), str(file))
    again = adapted(pair, seed=1)
    load_trained_state(again, load_file(str(file)), "file")
    with torch.no_grad():
        logits = model.label_logits(batch)
        assert torch.equal(again.label_logits(batch), logits)
        with again.answering("one"):
            torch.testing.assert_close(again.label_logits(batch), logits, atol=NEAR, rtol=NEAR)

    questions = batch_of(backbone, asked(rows_of(backbone)))
    with model.answering("one"):
        cached = model.generate(questions, beams=1, max_length=7)
        model.backbone.language.generation_config.use_cache = False
        assert model.generate(questions, beams=1, max_length=7) == cached

    if not model.technique.only_once:
        gradients = []
        for is_checkpointed in (False, True):
            if is_checkpointed:
                model.checkpoint_activations()
            model.zero_grad()
            torch.manual_seed(2)  # of a technique's own dropout
            model.train().label_logits(batch).square().mean().backward()
            gradients.append({n: p.grad for n, p in trained_parameters(model).items()})
        plain, checkpointed = gradients
        for name, gradient in plain.items():
            torch.testing.assert_close(checkpointed[name], gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("technique", ["vl_pet", "lst"])
def test_techniques_that_need_an_encoder_are_refused_with_the_reason(technique: str) -> None:
    with pytest.raises(UsageError, match=r"an encoder.*smolvlm is a decoder alone"):
        adapt(fresh("smolvlm"), card(technique=technique), TASKS)


def test_lora_s_targets_are_those_of_the_backbone() -> None:
    from tests.techniques.toys import toy_backbone

    with pytest.raises(UsageError, match=r"no site 'feed_forward_in'. Known: query, key, value"):
        adapt(toy_backbone("bart"), card(**lora(targets=["feed_forward_in"])), TASKS)


def test_peft_changes_the_decoder_s_layers_alone() -> None:
    model = adapted(("gemma3", "peft-dora"))
    names = [name for name in trained_parameters(model) if "lora" in name]
    assert names and all(".language_model.layers." in name for name in names)
    with pytest.raises(UsageError, match="No module is called 'vision_tower'"):
        adapt(fresh("gemma3"), card(**peft("LoraConfig", target_modules=["vision_tower"])), TASKS)


def test_without_sites_what_needs_none_still_works() -> None:
    for method in ("full", "frozen", "norms", "bitfit", "peft-dora"):
        backbone = fresh("llava")
        backbone.__dict__.pop("_sites")
        backbone.layers("decoder")[1].mlp.more = torch.nn.Parameter(torch.zeros(1, 1, 1))
        assert trained_parameters(adapt(backbone, card(**METHODS[method].table), TASKS))
    backbone.__dict__.pop("_sites", None)
    with pytest.raises(UsageError, match="mixture of experts"):
        adapt(backbone, card(technique="adapter"), TASKS)
