"""Every tuner of the peft library on a toy BART and a toy T5, and the published DoRA counts."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from tests.techniques.models import train
from tests.techniques.toys import TASKS, toy_backbone, toy_batch
from vlbench.backbones import build_backbone
from vlbench.cards import load_method, resolve_method
from vlbench.cards.schema import MethodCard
from vlbench.errors import MissingError, UsageError
from vlbench.techniques.adapt import (
    AdaptedModel,
    adapt,
    count,
    frozen_checksum,
    load_trained_state,
    trained_parameters,
    trained_state,
)
from vlbench.tensors import unique_state

CLASSES = {each.__name__: each for each in PEFT_TYPE_TO_CONFIG_MAPPING.values()}
SMALL: dict[str, dict[str, Any]] = {
    "C3AConfig": {"block_size": 8},
    "IA3Config": {"feedforward_modules": []},
    "LNTuningConfig": {"target_modules": ["norms"]},
    "MissConfig": {"r": 4},
    "RoadConfig": {"group_size": 8},
    "ShiraConfig": {"r": 2},
    "TrainableTokensConfig": {
        "target_modules": "shared|model.encoder.embed_tokens",
        "token_indices": [7, 8],
    },
    "VBLoRAConfig": {"vector_length": 8, "num_vectors": 16},
    "WaveFTConfig": {"n_frequency": 20},
}
"""What a toy is too small for by peft's defaults."""
REFUSED = {
    "AdamssConfig": "scikit-learn is required",  # which we do not install
    "AdaptionPromptConfig": "no layers to inject",
    "CPTConfig": "only supports task_type",
    "CartridgeConfig": "no layers to inject",
    "MultitaskPromptTuningConfig": "no layers to inject",
    "PolyConfig": "task_ids should not be None",
    "PrefixTuningConfig": "no layers to inject",
    "PromptEncoderConfig": "no layers to inject",
    "PromptTuningConfig": "no layers to inject",
    "ShadowConfig": "works around the model",
    "XLoraConfig": "hidden_size",
}


def card(config: str, **params: Any) -> MethodCard:
    return MethodCard(
        name="test",
        title="Test",
        technique="peft",
        params={"config": config, **params},
        train={"norms": False},
    )


def small_card(config: str) -> MethodCard:
    names = {field.name for field in dataclasses.fields(CLASSES[config])}
    targets = {"target_modules": ["query", "value"]} if "target_modules" in names else {}
    if "num_virtual_tokens" in names:
        targets = {"num_virtual_tokens": 4}
    if config == "AdaptionPromptConfig":
        targets = {"adapter_len": 4, "adapter_layers": 1}
    return card(config, **{**targets, **SMALL.get(config, {})})


def adapted(kind: str, method: MethodCard, seed: int = 0, meta: bool = False) -> AdaptedModel:
    backbone = toy_backbone(kind, meta=meta)
    torch.manual_seed(seed)
    return adapt(backbone, method, TASKS)


def outputs(model: AdaptedModel) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(toy_batch())


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
@pytest.mark.parametrize("kind", ["bart", "t5"])
@pytest.mark.parametrize("config", CLASSES)
def test_each_tuner_trains_and_reloads_or_is_refused_in_the_plan(
    config: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))  # BOFT looks for a CUDA kernel there
    method = small_card(config)
    if config in REFUSED:
        with pytest.raises((UsageError, MissingError), match=REFUSED[config]):
            adapted(kind, method, meta=True)
        return
    planned, model = adapted(kind, method, meta=True), adapted(kind, method)
    assert all(p.is_meta for p in planned.parameters())
    assert count(planned) == count(model)

    added, visual = set(model.technique.parameters()), set(model.backbone.visual.parameters())
    trained = trained_parameters(model)
    assert visual < set(trained.values()) <= visual | added
    frozen, before = frozen_checksum(model), {name: p.clone() for name, p in trained.items()}
    losses = train(model.eval(), 2)
    assert all(torch.tensor(losses).isfinite())
    assert frozen_checksum(model) == frozen
    moved = {name for name, p in trained.items() if not torch.equal(p, before[name])}
    assert any(trained[name] in visual for name in moved)
    assert any(trained[name] in added for name in moved)

    again = adapted(kind, method, seed=1)
    load_trained_state(again, trained_state(model), "adapter")
    assert torch.equal(outputs(again), outputs(model))
    assert model.generate(toy_batch(), 2, 5)
    assert [s.name for s in model.backbone.sites()] == [s.name for s in toy_backbone(kind).sites()]


def test_the_list_of_refusals_names_classes_there_are() -> None:
    assert REFUSED.keys() | SMALL.keys() <= CLASSES.keys()


@pytest.mark.parametrize(
    ("suite", "trainable", "total"),
    [("image-text", 8_838_912, 148_262_400), ("video-text", 7_634_688, 147_082_752)],
)
def test_dora_has_the_published_share_of_parameters(suite: str, trainable: int, total: int) -> None:
    visual = {"image-text": "image", "video-text": "video"}[suite]
    method = resolve_method(load_method("peft-dora"), "clip-bart", suite)
    counts = count(adapt(build_backbone("clip-bart", meta=True, visual=visual), method, TASKS))
    assert (counts.trainable, counts.total) == (trainable, total)
    assert round(counts.percent, 2) == {"image-text": 5.96, "video-text": 5.19}[suite]


@pytest.mark.parametrize(
    ("backbone", "trainable", "total"),
    [("clip-bart", 8_786_688, 148_234_752), ("clip-t5", 18_170_112, 241_128_960)],
)
def test_lora_with_biases_has_the_count_of_shared_lora(
    backbone: str, trainable: int, total: int
) -> None:
    sets = ["params.bias=all"]
    method = resolve_method(load_method("peft-lora"), backbone, "image-text", sets)
    counts = count(adapt(build_backbone(backbone, meta=True), method, TASKS))
    assert (counts.trainable, counts.total) == (trainable, total)


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_lora_gives_the_outputs_of_our_lora_with_the_same_factors(kind: str) -> None:
    params = {"rank": 4, "alpha": 6, "biases": False}
    ours = MethodCard(name="lora", title="LoRA", technique="lora", params=params)
    mine = adapted(kind, ours)
    theirs = adapted(kind, card("LoraConfig", target_modules=["query", "value"], r=4, lora_alpha=6))
    untouched = outputs(theirs)
    with torch.no_grad():
        for site in theirs.backbone.sites():
            if site.kind in ("query", "value"):
                update, layer = mine.technique.sites[site.name], site.module
                layer.lora_B["default"].weight.normal_(std=0.3)
                update.down.layers["all"].weight.copy_(layer.lora_A["default"].weight)
                update.up.layers["all"].weight.copy_(layer.lora_B["default"].weight)
        load_visual(mine, theirs)
    assert not torch.allclose(outputs(theirs), untouched, atol=1e-3)
    torch.testing.assert_close(outputs(mine), outputs(theirs), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(precise(mine), precise(theirs), atol=1e-12, rtol=0)


def precise(model: AdaptedModel) -> torch.Tensor:
    """The outputs in double precision, where the order of sums does not show."""
    batch = toy_batch()
    batch.features = batch.features.double()
    with torch.no_grad():
        return model.double().eval()(batch)


def load_visual(model: AdaptedModel, source: AdaptedModel) -> None:
    model.backbone.visual.load_state_dict(source.backbone.visual.state_dict())


def test_vera_is_the_same_whatever_the_runs_seed() -> None:
    method = card("VeraConfig", target_modules=["query"], r=8)
    first, second = adapted("bart", method), adapted("bart", method, seed=1)
    names = [name for name in unique_state(first) if ".vera_A." in name]
    assert names
    assert all(torch.equal(unique_state(first)[n], unique_state(second)[n]) for n in names)


def test_a_card_keeps_pefts_layers_and_the_norms_apart() -> None:
    method = card("LNTuningConfig", target_modules="norms")
    model = adapted("bart", method)
    copies = set(model.technique.parameters())
    assert copies == set(trained_parameters(model).values()) - set(
        model.backbone.visual.parameters()
    )
    wish = method.model_copy(update={"train": method.train.model_copy(update={"norms": True})})
    with pytest.raises(UsageError, match=r"train\.norms: LNTuningConfig trains copies"):
        adapted("bart", wish)


def test_norms_train_beside_lora_when_the_card_says_so() -> None:
    method = card("LoraConfig", target_modules=["query"])
    method = method.model_copy(update={"train": method.train.model_copy(update={"norms": True})})
    model = adapted("t5", method)
    assert all(p.requires_grad for norm in model.backbone.norms() for p in norm.parameters())


def test_a_copy_of_the_model_has_its_own_weights() -> None:
    model = adapted("bart", card("LoraConfig", target_modules=["query"], init_lora_weights=False))
    twin, before = copy.deepcopy(model), outputs(model)
    for parameter in trained_parameters(twin).values():
        parameter.data.zero_()
    assert torch.equal(outputs(model), before)
    assert not torch.equal(outputs(twin), before)


def test_weights_are_for_all_tasks() -> None:
    method = card("LoraConfig").model_copy(update={"sharing": "task"})
    with pytest.raises(UsageError, match="Peft cannot share 'task'"):
        adapted("bart", method)


def composed(other: str, **params: Any) -> MethodCard:
    table = {"config": "LoraConfig", **params}
    return MethodCard(name="both", title="Both", technique=f"peft+{other}", params={"peft": table})


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_it_composes_with_what_changes_other_sites(kind: str) -> None:
    model = adapted(kind, composed("adapter", target_modules=["query", "output"]))
    names = " ".join(trained_parameters(model))
    assert "lora_A" in names and "down.layers" in names
    losses = train(model.eval(), 5)
    assert losses[-1] < losses[0]


def test_it_does_not_compose_with_what_changes_the_same_sites() -> None:
    with pytest.raises(UsageError, match="both change decoder_0_cross_attention_query"):
        adapted("bart", composed("lora", target_modules=["query"]))
    with pytest.raises(UsageError, match="both change"):
        adapted("bart", composed("lora"))  # where peft chooses
