"""Our tensors under the authors' names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.techniques.toys import toy_backbone
from vlbench.cards import load_method
from vlbench.cards.load import own_cards
from vlbench.cards.schema import MethodCard
from vlbench.checkpoints.authors import Name, authors_names, spelt
from vlbench.checkpoints.weights import match
from vlbench.errors import UsageError
from vlbench.techniques import resolve_method
from vlbench.techniques.adapt import AdaptedModel, adapt
from vlbench.techniques.base import NoParams
from vlbench.techniques.selective import Frozen
from vlbench.tensors import unique_state

TASKS = ("vqav2", "gqa")


def names(kind: str, **table: Any) -> dict[str, Name]:
    card = MethodCard(name="test", title="Test", **table)
    model = adapt(toy_backbone(kind), card, TASKS)
    return {name.ours: name for name in authors_names(model, spelt(TASKS))}


def test_the_token_embedding_has_five_names_and_an_untied_output_layer_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copies = (
        *("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"),
        "encoder.visual_embedding.obj_order_embedding.weight",
    )
    bart, t5 = names("bart", technique="full"), names("t5", technique="full")
    tied = bart["backbone.language.model.shared.weight"].theirs
    assert tied == (*(f"model.{name}" for name in copies), "lm_head.weight")
    assert t5["backbone.language.shared.weight"].theirs == (*copies, "lm_head.weight")
    backbone = toy_backbone("bart", tie_word_embeddings=False)
    monkeypatch.setattr(f"{__name__}.toy_backbone", lambda _: backbone)
    untied = names("bart", technique="full")
    assert len(untied["backbone.language.model.shared.weight"].theirs) == 4
    assert untied["backbone.language.lm_head.weight"].theirs == ("lm_head.weight",)


def test_a_shared_half_has_a_name_under_every_task() -> None:
    by_ours = names("t5", technique="adapter", sharing="up")
    site = "technique.sites.decoder_1_cross_attention"
    up = by_ours[f"{site}.up.layers.all.weight"]
    assert up.theirs == tuple(
        f"decoder.block.1.layer.1.enc_attn_adapter.adapters.{task}.up_sampler.weight"
        for task in ("vqa", "gqa")
    )
    down = by_ours[f"{site}.down.layers.gqa.weight"]
    assert down.theirs == (
        "decoder.block.1.layer.1.enc_attn_adapter.adapters.gqa.down_sampler.weight",
    )


def test_the_one_rule_of_compacters_has_a_name_at_every_layer_of_every_task() -> None:
    params = {"shared_rule": True, "division": 2, "reduction": 4}
    rule = names("bart", technique="compacter", params=params)["technique.rule"]
    first, *others = rule.theirs
    assert first == "phm_rule"
    assert len(others) == 10 * 2 * len(TASKS)  # sites, halves
    assert "model.decoder.layers.0.enc_attn_adapter.adapters.gqa.up_sampler.phm_rule" in others


def test_techniques_and_tasks_that_are_none_of_theirs_are_refused() -> None:
    class Own(Frozen):
        def attach(self, backbone: Any) -> None:
            self.scale = nn.Parameter(torch.ones(3))

    backbone, technique = toy_backbone("bart"), Own(NoParams(), "all", TASKS)
    technique.attach(backbone)
    with pytest.raises(UsageError, match=r"no name for technique\.scale of Own"):
        authors_names(AdaptedModel(backbone, technique), spelt(TASKS))
    with pytest.raises(UsageError, match="no task 'nlvr'"):
        spelt(["vqav2", "nlvr"])


RESOLVED_FOR = {"bart": "clip-bart", "t5": "clip-t5"}
THEIRS = [name for name in own_cards("methods") if load_method(name).technique != "peft"]
NARROW = ["params.width=8", "params.value_width=8", "params.gate_width=8"]
"""Settings with which VL-PET fits a toy."""


@pytest.mark.parametrize("kind", RESOLVED_FOR)
@pytest.mark.parametrize("name", THEIRS)
def test_every_tensor_comes_back(name: str, kind: str) -> None:
    method = load_method(name)
    settings = NARROW if method.technique == "vl_pet" else []
    card = resolve_method(method, RESOLVED_FOR[kind], "image-text", settings)
    model = adapt(toy_backbone(kind), card, TASKS)
    own = {key: torch.randn_like(tensor) for key, tensor in unique_state(model).items()}
    if (name, kind) == ("lst", "bart"):  # ours alone: their code has no such model
        with pytest.raises(UsageError, match="have no name"):
            authors_names(model, spelt(TASKS))
        return
    names = authors_names(model, spelt(TASKS))
    theirs = {alias: own[name.ours][name.rows].clone() for name in names for alias in name.theirs}
    assert len(theirs) == sum(len(name.theirs) for name in names)  # no name twice
    matched = match(own, names, theirs, "file")
    assert matched.keys() == own.keys()
    assert all(torch.equal(matched[key], own[key]) for key in own)
