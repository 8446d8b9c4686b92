"""A chat model whose frozen weights are held in fewer bits, and which of its parts train."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.backbones.families import BY_NAME, asked, batch_of, fresh, load, rows_of, write_family
from tests.techniques.models import card
from vlbench.backbones.chat import Chat
from vlbench.backbones.chat_source import chat_backbone
from vlbench.errors import UsageError
from vlbench.techniques.adapt import adapt, count, trained_parameters

TASKS = ("one", "two")
ROUNDED = 0.05
"""Largest part of the logits by which bf16 rounds them, in a model of a few layers."""
LORA = {"technique": "lora", "params": {"rank": 4, "biases": False}, "train": {"dropout": 0.0}}


@pytest.fixture(
    scope="module", params=["smolvlm", pytest.param("qwen2_5_vl", marks=pytest.mark.slow)]
)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(BY_NAME[request.param], tmp_path_factory.mktemp(request.param))


def built(folder: Path, weights: str, meta: bool = False) -> Chat:
    return chat_backbone(folder, None, meta, weights)


def unpack(quantised: torch.nn.Module, plain: torch.nn.Module) -> None:
    """Give a plain model the values that weights of 4 bits stand for."""
    for name, module in quantised.named_modules():
        if state := getattr(getattr(module, "weight", None), "quant_state", None):
            from bitsandbytes.functional import dequantize_4bit

            values = dequantize_4bit(module.weight.data, state)  # type: ignore[union-attr, arg-type]
            plain.get_submodule(name).weight.data = values.float()  # type: ignore[union-attr]


@pytest.mark.parametrize("weights", ["bf16", "4bit"])
@pytest.mark.parametrize("technique", ["lora", "adapter", "prompt", "compacter", "full"])
def test_what_trains_is_fp32_beside_weights_of_fewer_bits(
    folder: Path, weights: str, technique: str
) -> None:
    if weights == "4bit":
        pytest.importorskip("bitsandbytes")
        table = {"technique": "full", "train": {"weights": weights}}
        if technique == "full":
            with pytest.raises(UsageError, match=r"train\.weights: 4bit weights cannot train"):
                adapt(built(folder, weights, meta=True), card(**table), TASKS)
            return
    table = LORA if technique == "lora" else {"technique": technique}
    model = adapt(built(folder, weights), card(**table), TASKS)
    assert {p.dtype for p in trained_parameters(model).values()} == {torch.float32}
    shapes = adapt(built(folder, weights, meta=True), card(**table), TASKS)
    assert count(model) == count(shapes)

    plain = chat_backbone(folder, None, False).eval()
    batch = batch_of(plain, rows_of(plain))
    logits = model.label_logits(batch)
    logits.float().square().mean().backward()
    assert all(
        p.grad is not None and p.grad.dtype == torch.float32
        for name, p in trained_parameters(model).items()
        if "two" not in name
    )
    with model.answering("one"):
        assert len(model.generate(batch_of(plain, asked(rows_of(plain))), 1, 4)) == 2
    if technique == "lora":  # the identity at the start, but for the bits
        unpack(model.backbone.language, plain.language)
        with torch.no_grad():
            expected = plain.label_logits(batch)
        assert 0 < (logits - expected).norm() / expected.norm() < ROUNDED


@pytest.mark.parametrize(
    ("technique", "wish", "is_trained"),
    [
        ("adapter", None, False),
        ("adapter", True, True),
        ("frozen", None, True),
        ("full", None, True),
    ],
)
def test_the_projector_trains_where_technique_or_card_say(
    technique: str, wish: bool | None, is_trained: bool
) -> None:
    model = adapt(
        fresh("llava", meta=True), card(technique=technique, train={"projector": wish}), TASKS
    )
    assert count(model).trains_projector is is_trained
    assert all(p.requires_grad is is_trained for p in model.backbone.visual.parameters())


def test_a_model_whose_answers_depend_on_padding_is_refused() -> None:
    backbone = fresh("llava").eval()
    rows = backbone.check_processor()
    backbone.check_padding(rows)
    forward = backbone.language.forward

    def unmasked(attention_mask: torch.Tensor, **inputs: object) -> object:
        return forward(attention_mask=torch.ones_like(attention_mask), **inputs)

    backbone.language.forward = unmasked
    with pytest.raises(UsageError, match="does not mask left padding"):
        backbone.check_padding(rows)


def test_all_that_the_model_has_is_counted_beside_the_denominator() -> None:
    counts = count(adapt(fresh("llava", meta=True), card(technique="frozen"), TASKS))
    everything = sum(p.numel() for p in load("llava").parameters())
    assert counts.whole == everything > counts.total
