"""Tuners of the peft library on a toy BART and a toy T5, and the published DoRA counts."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.techniques import models
from tests.techniques.models import EACH, train
from tests.techniques.test_battery import outputs
from tests.techniques.toys import TASKS, toy_backbone, toy_batch
from vlbench.backbones import build_backbone
from vlbench.cards.checking import check
from vlbench.cards.load import load_method
from vlbench.cards.schema import MethodCard
from vlbench.errors import CardError, MissingError, UsageError
from vlbench.techniques import resolve_method, technique_faults
from vlbench.techniques.adapt import (
    AdaptedModel,
    adapt,
    count,
    frozen_checksum,
    load_trained_state,
    trained_parameters,
    trained_state,
)
from vlbench.techniques.peft import (
    BEYOND,
    PeftParams,
    card_fields,
    config_classes,
    translate,
    words,
)
from vlbench.training.train import loss

OTHERS: dict[str, dict[str, Any]] = {
    "LoHaConfig": {},
    "OFTConfig": {},
    "RoadConfig": {"group_size": 8},
    "TrainableTokensConfig": {
        "target_modules": "shared|model.encoder.embed_tokens",
        "token_indices": [7, 8],
    },
    "VBLoRAConfig": {"vector_length": 8, "num_vectors": 16},
}
"""Some tuners without a card of ours, which tests/techniques/test_battery.py tries."""
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "AdaptionPromptConfig": ({"adapter_len": 4, "adapter_layers": 1}, "is more than layers"),
    "BOFTConfig": ({}, "meta tensors"),  # it computes when its layers are made
    "PolyConfig": ({}, "is more than layers"),
    "PrefixTuningConfig": ({"num_virtual_tokens": 4}, "is more than layers"),
    "ShadowConfig": ({}, "works around the model"),
    "XLoraConfig": ({}, "hidden_size"),
}


def card(config: str, **params: Any) -> MethodCard:
    table = {"config": config, **params}
    return models.card(technique="peft", params=table, train={"norms": False})


def adapted(kind: str, method: MethodCard, seed: int = 0, meta: bool = False) -> AdaptedModel:
    backbone = toy_backbone(kind, meta=meta)
    torch.manual_seed(seed)
    return adapt(backbone, method, TASKS)


@pytest.mark.parametrize("config", REFUSED)
def test_what_is_more_than_layers_is_refused_in_the_plan(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))  # BOFT looks for a CUDA kernel there
    params, text = REFUSED[config]
    targets = {"target_modules": ["query", "value"]} if config == "BOFTConfig" else {}
    with pytest.raises(UsageError, match=text):
        adapted("bart", card(config, **targets, **params), meta=True)


@pytest.mark.parametrize("config", OTHERS)
def test_a_tuner_without_a_card_trains_and_reloads(config: str) -> None:
    method = card(config, **{"target_modules": ["query", "value"], **OTHERS[config]})
    planned, model = adapted("bart", method, meta=True), adapted("bart", method)
    assert all(p.is_meta for p in planned.parameters())
    assert count(planned) == count(model)
    added, visual = set(model.technique.parameters()), set(model.backbone.visual.parameters())
    trained = trained_parameters(model)
    assert visual < set(trained.values()) <= visual | added
    frozen, before = frozen_checksum(model), {name: p.clone() for name, p in trained.items()}
    losses = train(model.eval(), 2)
    assert all(torch.tensor(losses).isfinite())
    assert frozen_checksum(model) == frozen
    moved = {trained[name] for name, p in trained.items() if not torch.equal(p, before[name])}
    assert moved & visual and moved & added
    again = adapted("bart", method, seed=1)
    load_trained_state(again, trained_state(model), "adapter")
    assert torch.equal(outputs(again), outputs(model))
    assert model.generate(toy_batch(), 2, 5)


PUBLISHED = [
    ("peft-dora", "clip-bart", "image-text", 8_838_912, 148_262_400),
    ("peft-dora", "clip-bart", "video-text", 7_634_688, 147_082_752),
    ("peft-lora", "clip-bart", "image-text", 8_786_688, 148_234_752),  # as shared LoRA
    ("peft-lora", "clip-t5", "image-text", 18_170_112, 241_128_960),
]


@pytest.mark.parametrize("row", PUBLISHED)
def test_dora_and_lora_have_the_published_parameters(row: tuple[Any, ...]) -> None:
    name, backbone, suite, trainable, total = row
    visual: Any = "video" if suite == "video-text" else "image"
    sets = ["params.bias=all"] if name == "peft-lora" else []
    method = resolve_method(load_method(name), backbone, suite, sets)
    counts = count(adapt(build_backbone(backbone, meta=True, visual=visual), method, TASKS))
    assert (counts.trainable, counts.total) == (trainable, total)


@EACH
def test_lora_gives_the_outputs_of_our_lora_with_the_same_factors(kind: str) -> None:
    params = {"rank": 4, "alpha": 6, "biases": False}
    mine = adapted(kind, models.card(technique="lora", params=params))
    theirs = adapted(kind, card("LoraConfig", target_modules=["query", "value"], r=4, lora_alpha=6))
    untouched = outputs(theirs)
    with torch.no_grad():
        for site in theirs.backbone.sites():
            if site.kind in ("query", "value"):
                update, layer = mine.technique.sites[site.name], site.module
                layer.lora_B["default"].weight.normal_(std=0.3)
                update.down.layers["all"].weight.copy_(layer.lora_A["default"].weight)
                update.up.layers["all"].weight.copy_(layer.lora_B["default"].weight)
        mine.backbone.visual.load_state_dict(theirs.backbone.visual.state_dict())
    assert not torch.allclose(outputs(theirs), untouched, atol=1e-3)
    torch.testing.assert_close(outputs(mine), outputs(theirs), atol=1e-6, rtol=1e-5)


def test_a_card_keeps_pefts_layers_and_the_norms_apart() -> None:
    method = card("LNTuningConfig", target_modules="norms")
    model = adapted("bart", method)
    trained, visual = trained_parameters(model), set(model.backbone.visual.parameters())
    assert set(model.technique.parameters()) == set(trained.values()) - visual
    wish = method.model_copy(update={"train": method.train.model_copy(update={"norms": True})})
    with pytest.raises(UsageError, match=r"train\.norms: LNTuningConfig trains copies"):
        adapted("bart", wish)


@EACH
def test_it_composes_with_what_changes_other_sites(kind: str) -> None:
    def composed(other: str, **params: Any) -> AdaptedModel:
        table = {"peft": {"config": "LoraConfig", **params}}
        return adapted(kind, models.card(technique=f"peft+{other}", params=table))

    model = composed("adapter", target_modules=["query", "output"])
    names = " ".join(trained_parameters(model))
    assert "lora_A" in names and "down.layers" in names
    losses = train(model.eval(), 5)
    assert losses[-1] < losses[0]
    with pytest.raises(UsageError, match="both change decoder_0_cross_attention_query"):
        composed("lora", target_modules=["query"])
    with pytest.raises(UsageError, match="both change"):
        composed("lora")  # where peft chooses


def fault(config: str, **params: Any) -> str:
    (found,) = check(PeftParams, {"config": config, **params}, ("params",))[1]
    return found.text


def test_names_and_types_are_checked_when_a_card_is_read() -> None:
    text = fault("LoraConfig", lora_alhpa=8, r="8", use_dora="no", bias="some", inference_mode=True)
    for words_of_it in (
        "Unknown key 'lora_alhpa'. Did you mean 'lora_alpha'?",
        'r: Should be a valid integer, found "8".',
        'use_dora: Should be a valid boolean, found "no".',
        "bias: Should be 'none', 'all' or 'lora_only', found \"some\".",
        "Unknown key 'inference_mode'",
    ):
        assert words_of_it in text
    assert "Did you mean 'LoraConfig'? Known: AdaLoraConfig" in fault("LoraConf")
    for name, config in config_classes().items():  # the types of all can be checked
        fault(name, **{key: {"no": ["such", "value"]} for key in card_fields(config).model_fields})


def test_what_takes_more_than_layers_is_refused() -> None:
    for key in BEYOND:
        configs = [n for n, config in config_classes().items() if key in config.__annotations__]
        assert fault(configs[0], **{key: True}) == f"{key} asks peft for more than layers."
    for start in ("eva", "pissa_niter_4"):
        assert "needs data" in fault("LoraConfig", init_lora_weights=start)
    assert not check(PeftParams, {"config": "LoraConfig", "init_lora_weights": "pissa"})[1]
    assert "target_r=6 should be above 0" in fault("AdaLoraConfig", init_r=6, target_r=6)
    assert "Unknown key 'total_step'" in fault("AdaLoraConfig", total_step=3)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (
            {"config": "IA3Config", "target_modules": ["key"], "feedforward_modules": ["value"]},
            "`feedforward_modules` should be a subset of `target_modules`",
        ),
        ({"config": "AdaLoraConfig", "r": 4}, "`r` is not used in"),
        ({"r": 0}, "`r` should be a positive integer value"),
        ({"target_modules": "no.*"}, r"Target modules no\.\* not found"),
        ({"rank_pattern": {"no": 3}}, r"did not match any .*: \['no'\]\."),
        ({"target_modules": ["vlaue"]}, r"No module is called 'vlaue'\. Did you mean 'value'\?"),
    ],
)
def test_what_only_the_backbone_shows_is_told_by_the_plan(
    params: dict[str, Any], text: str
) -> None:
    table = {"config": "LoraConfig", "target_modules": ["query"], **params}
    method = models.card(technique="peft", params=table)
    with pytest.raises(UsageError, match=text) as caught:
        adapt(toy_backbone("bart", meta=True), method, TASKS)
    assert "\n" not in str(caught.value)


def test_any_field_can_be_set_from_the_command_line() -> None:
    card = load_method("peft-lora")
    sets = ["params.r=4", "params.use_rslora=true"]
    resolved = resolve_method(card, "mini-bart", "image-text", sets)
    assert resolved.params["r"] == 4 and resolved.params["use_rslora"] is True
    with pytest.raises(UsageError, match=r"--set params: use_rslroa: Unknown key"):
        resolve_method(card, "mini-bart", "image-text", ["params.use_rslroa=true"])


def test_without_the_library_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "peft"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "peft", None)
    load_method("peft-lora")  # reading a card needs no library
    with pytest.raises(MissingError, match=r"pip install 'vlbench\[peft\]'") as caught:
        load_method("peft-lora", technique_faults)
    assert caught.value.exit_code == 3


LEAVES = {
    "bart": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
    "t5": ("q", "k", "v", "o", "wi", "wo"),
}


@EACH
def test_words_name_the_linear_layers_of_every_sublayer(kind: str) -> None:
    backbone = toy_backbone(kind)
    found = words(backbone)
    norms = found.pop("norms")
    assert [backbone.language.get_submodule(path) for path in norms] == backbone.norms()
    order = ("query", "key", "value", "output", "feed_forward_in", "feed_forward_out")
    for word, leaf in zip(order, LEAVES[kind], strict=True):
        paths = found[word]
        assert {path.rpartition(".")[2] for path in paths} == {leaf}
        assert len(paths) == len(set(paths)) == (4 if word.startswith("feed") else 6)
        assert all(isinstance(backbone.language.get_submodule(path), nn.Linear) for path in paths)
    leaf = LEAVES[kind][1]
    assert translate(backbone, "target_modules", ["query", leaf]) == [*found["query"], leaf]
    assert translate(backbone, "target_modules", "norms") == norms
    assert translate(backbone, "target_modules", "all-linear") == "all-linear"


# AdaLoRA: the penalty and the schedule are the training loop's to drive


def adalora(**changes: Any) -> AdaptedModel:
    targets, ranks = ["query", "feed_forward_in"], {"init_r": 6, "target_r": 2}
    params = {"target_modules": targets, **ranks, "tinit": 0.2, "tfinal": 0.3, **changes}
    method = models.card(technique="peft", params={"config": "AdaLoraConfig", **params})
    return adapt(toy_backbone("bart"), method, TASKS).eval()


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
    model = adalora()
    before = frozen_checksum(model)
    ranks = go(model, adamw(model), 1, 20)
    matrices = len(singular_values(model))
    assert ranks[:4] == [6 * matrices] * 4  # a fifth of 20
    assert all(later <= earlier for earlier, later in pairwise(ranks))
    assert ranks[13:] == [2 * matrices] * 7  # none of the last 0.3 x 20, nor the step before
    assert frozen_checksum(model) == before


def test_the_penalty_is_pefts() -> None:
    model, batch = adalora(), toy_batch()
    language, tuner = model.backbone.language, model.technique._adalora
    words = {"input_ids": batch.input_ids, "labels": batch.target_ids}
    with torch.no_grad():
        difference = tuner(**words).loss - language(**words).loss
    torch.testing.assert_close(model.technique.penalty(), difference, atol=1e-5, rtol=1e-5)
    assert model.technique.penalty().requires_grad


@pytest.mark.parametrize("interrupted", [8, 17])
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(interrupted: int) -> None:
    whole, first, second = adalora(), adalora(), adalora()
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


def test_runs_of_few_steps_work_and_phases_must_fit_them() -> None:
    for total in (1, 2, 3):
        model, batch = adalora(), toy_batch()
        for number in range(1, total + 1):
            loss(model(batch), batch.target_ids, batch.scores, "per-example").backward()
            model.technique.stepped(number, total)
    with pytest.raises(UsageError, match="tinit=15 and tfinal=10 leave no steps of 20"):
        adalora(tinit=15, tfinal=10).technique.stepped(1, 20)
    with pytest.raises(CardError, match="tinit"):
        adalora(tinit="a fifth")
