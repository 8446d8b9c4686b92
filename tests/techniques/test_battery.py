"""What is true of every card, on a toy BART and a toy T5: one trained model a row, three tests."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.techniques.models import train
from tests.techniques.toys import TASKS, toy_backbone, toy_batch
from vlbench.cards import load_method
from vlbench.cards.load import own_cards
from vlbench.techniques import resolve_method
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

RESOLVED_FOR = {"bart": "mini-bart", "t5": "clip-t5"}
ROWS = [
    pytest.param((name, kind), marks=pytest.mark.slow if kind == "t5" else (), id=f"{name}-{kind}")
    for name in own_cards("methods")
    if name != "zero-shot"  # which trains nothing
    for kind in RESOLVED_FOR
]


def adapted(row: tuple[str, str], seed: int = 0, meta: bool = False) -> AdaptedModel:
    """The card's technique on the same toy, made with this seed."""
    name, kind = row
    backbone = toy_backbone(kind, meta=meta)
    card = resolve_method(load_method(name), RESOLVED_FOR[kind], "image-text")
    torch.manual_seed(seed)
    return adapt(backbone, card, TASKS)


@torch.no_grad()
def outputs(model: AdaptedModel) -> torch.Tensor:
    """Logits of a batch, in evaluation."""
    return model.eval()(toy_batch())


@pytest.fixture(scope="module", params=ROWS)
def row(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


@pytest.fixture(scope="module")
def trained(row: tuple[str, str]) -> SimpleNamespace:
    """A model after six steps of the first task without dropout, answering in between."""
    model = adapted(row)
    random = torch.get_rng_state()
    check_reached(model, TASKS, row[0])
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training and model.backbone.language.training
    start = {name: tensor.clone() for name, tensor in trained_state(model.eval()).items()}
    frozen, answered, losses = frozen_checksum(model), [], []
    for steps in (1, 1, 4):
        answered.append(outputs(model))
        losses += train(model, steps)
    return SimpleNamespace(
        model=model, start=start, frozen=frozen, answered=answered, losses=losses
    )


def test_what_the_card_says_trains_and_moves_and_the_rest_stays_bit_equal(
    row: tuple[str, str], trained: SimpleNamespace
) -> None:
    model: AdaptedModel = trained.model
    backbone, technique = model.backbone, model.technique
    card = resolve_method(load_method(row[0]), RESOLVED_FOR[row[1]], "image-text")
    allowed: set[Any] = set()
    for part in [*technique.trained(backbone, card.train.norms), backbone.visual]:
        allowed |= {part} if isinstance(part, torch.nn.Parameter) else set(part.parameters())
    assert set(trained_parameters(model).values()) == allowed
    if card.technique != "full":
        assert backbone.token_embedding not in allowed
        norms = {p for norm in backbone.norms() for p in norm.parameters()}
        if not card.train.norms and card.technique not in ("lora", "bitfit", "peft"):
            assert not norms & allowed

    assert trained.losses[-1] < trained.losses[0]
    assert frozen_checksum(model) == trained.frozen
    state = trained_state(model)
    moved = {name for name, t in state.items() if not torch.equal(t, trained.start[name])}
    assert any(name.startswith("backbone.visual.") for name in moved)
    assert {name.partition(".")[0] for name in moved} <= {"backbone", "technique"}
    assert not any("two" in name.split(".") for name in moved)  # of the task without a batch
    if card.sharing == "task" and row[0] not in ("full", "frozen"):
        assert any("two" in name.split(".") for name in state)
    first, second, third = trained.answered
    assert not torch.equal(second, first) and not torch.equal(third, second)

    meta = adapted(row, meta=True)  # counting needs no weights
    shapes = {name: p.shape for name, p in trained_parameters(meta).items()}
    assert shapes == {name: p.shape for name, p in trained_parameters(model).items()}
    assert all(p.is_meta for p in meta.parameters())
    assert count(meta) == count(model)


@torch.no_grad()
def greedy(model: AdaptedModel, batch: Any, length: int) -> list[list[int]]:
    """The plain way: the whole prefix again for every token, no cache."""
    hidden, mask = model.backbone.encode(batch)
    config = model.backbone.config
    ids = torch.full((mask.shape[0], 1), config.decoder_start_token_id)
    is_done = torch.zeros(mask.shape[0], dtype=torch.bool)
    while ids.shape[1] < length and not is_done.all():
        token = model.backbone.decode(hidden, mask, ids)[:, -1].argmax(-1)
        token = token.masked_fill(is_done, config.pad_token_id)
        ids = torch.cat([ids, token[:, None]], dim=1)
        is_done |= token == config.eos_token_id
    return ids.tolist()


def test_a_saved_adapter_reloads_bit_equal_and_generates_as_without_caches(
    row: tuple[str, str], trained: SimpleNamespace, tmp_path: Path
) -> None:
    """The reloaded model never answered before, so nothing kept to answer outlived a step."""
    model, fresh = trained.model, adapted(row, seed=1).eval()
    file = tmp_path / "adapter.safetensors"
    save_file(trained_state(model), str(file))
    saved = load_file(str(file))
    assert saved.keys() == trained_parameters(model).keys()
    load_trained_state(fresh, saved, str(file))
    expected = outputs(model)
    assert torch.equal(outputs(fresh), expected)
    for images in (1, 2):
        batch = toy_batch(images=images)
        assert model.generate(batch, beams=1, max_length=7) == greedy(model, batch, 7)
    with torch.inference_mode(), fresh.answering("one"):
        torch.testing.assert_close(fresh(toy_batch()), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(outputs(fresh), expected)
    fresh(toy_batch()).sum().backward()  # nothing made for answers is in the way

    twin = copy.deepcopy(fresh)  # its hooks and tasks are its own
    with torch.no_grad():
        for parameter in trained_parameters(twin).values():
            parameter.mul_(2)
    twin.backbone.current_task.enter("two")
    assert torch.equal(outputs(fresh), expected)
    assert not torch.equal(outputs(twin), expected)


def test_one_seed_gives_one_model_and_two_seeds_two(row: tuple[str, str]) -> None:
    first, same, other = adapted(row), adapted(row), adapted(row, seed=1)
    for model in (first, same):
        torch.manual_seed(7)
        train(model, 1)
    assert torch.equal(outputs(first), outputs(same))
    new = [n for n in trained_state(first) if n.startswith("technique.")]
    if row[0] not in ("bitfit", "vl-pet-middle-y") and any("weight" in n for n in new):
        states = adapted(row), other
        pairs = zip(*(trained_state(model).values() for model in states), strict=True)
        assert any(not torch.equal(a, b) for a, b in pairs)
