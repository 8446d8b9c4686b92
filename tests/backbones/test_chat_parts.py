"""The parts of chat models and the sites in their layers, measured on every family."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Florence2Config,
    Florence2ForConditionalGeneration,
)

from tests.backbones.families import EACH, TEXT, VISION, batch_of, fresh, load, rows_of
from vlbench.backbones.base import SUBLAYERS, OutputHook
from vlbench.backbones.chat import Chat
from vlbench.backbones.chat_parts import find_parts, find_sites
from vlbench.errors import UsageError

BEHIND_NORMS = ("paligemma2", "gemma3")
"""Families whose layers norm what a sub-layer adds."""
NEAR = 1e-5


@pytest.fixture(scope="module", params=EACH)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def test_the_parts_are_all_of_the_model_and_each_is_one(family: str) -> None:
    backbone = load(family)
    parts, language = backbone.parts, backbone.language
    head = set(language.get_output_embeddings().parameters())
    projector, tower = set(parts.projector), set(parts.tower.parameters())
    assert projector and not projector & {*parts.stack.parameters(), *head}
    assert {*parts.stack.parameters(), *head, *projector, *tower} == set(language.parameters())
    assert len(parts.layers) == TEXT["num_hidden_layers"]
    assert len(backbone.norms()) >= 2 * len(parts.layers) + 1
    frozen = tower - projector
    assert sum(p.numel() for p in backbone.counted()) == sum(
        p.numel() for p in set(language.parameters()) - frozen
    )


def test_meta_models_have_the_same_sites(family: str) -> None:
    real, meta = load(family).sites(), fresh(family, meta=True).sites()
    assert [site[:4] + site[6:] for site in real] == [site[:4] + site[6:] for site in meta]


@torch.no_grad()
def test_a_layer_adds_what_its_sites_put_out(family: str) -> None:
    """With the other sub-layer at zero, the layer's output minus its input is the site's output."""
    for kind in sorted(SUBLAYERS - {"cross_attention"}):
        backbone = fresh(family)
        added: dict[int, Tensor] = {}
        flow: dict[int, tuple[Tensor, Tensor]] = {}
        for site in backbone.sites():
            if site.kind == kind:
                site.on_output(lambda output, to=added, layer=site.layer: keep(to, layer, output))
            elif site.kind in SUBLAYERS:
                site.on_output(torch.zeros_like)
        for number, layer in enumerate(backbone.layers("decoder")):
            layer.register_forward_hook(
                lambda _, inputs, output, to=flow, number=number: to.update(
                    {number: (inputs[0], output[0] if isinstance(output, tuple) else output)}
                )
            )
        backbone.label_logits(batch_of(backbone, rows_of(backbone)))
        for number, (entered, left) in flow.items():
            torch.testing.assert_close(left - entered, added[number], atol=1e-4, rtol=1e-4)


def keep(to: dict[int, Tensor], number: int, output: Tensor) -> Tensor:
    to[number] = output
    return output


@torch.no_grad()
def test_scaled_sites_give_what_scaled_modules_of_known_names_give(family: str) -> None:
    ours, theirs = fresh(family), fresh(family)
    factors = {"self_attention": 3.0, "feed_forward": 2.0}
    for site in ours.sites():
        if site.kind in factors:
            site.on_output(lambda output, factor=factors[site.kind]: output * factor)
    names = ("self_attn", "mlp")
    if family in BEHIND_NORMS:
        names = ("post_attention_layernorm", "post_feedforward_layernorm")
    for layer in theirs.layers("decoder"):
        for name, factor in zip(names, factors.values(), strict=True):
            hook = OutputHook(lambda output, factor=factor: output * factor)
            getattr(layer, name).register_forward_hook(hook)
    batch = batch_of(ours, rows_of(ours))
    expected = theirs.label_logits(batch)
    torch.testing.assert_close(ours.label_logits(batch), expected, atol=NEAR, rtol=NEAR)
    assert (expected - load(family).label_logits(batch)).abs().max() > 1e-2


@torch.no_grad()
def test_what_enters_a_sub_layer_is_the_residual_stream(family: str) -> None:
    backbone = fresh(family)
    entered: dict[str, Tensor] = {}
    streams: dict[int, Tensor] = {}

    def passage(name: str) -> Any:
        return lambda x, output: (entered.update({name: x}), output)[1]

    for site in backbone.sites():
        if site.kind in SUBLAYERS:
            site.on_passage(passage(site.name))
    added: dict[str, Tensor] = {}
    for site in backbone.sites():
        if site.kind == "self_attention":
            site.on_output(lambda output, name=site.name: (added.update({name: output}), output)[1])
    for number, layer in enumerate(backbone.layers("decoder")):
        layer.register_forward_pre_hook(
            lambda _, inputs, number=number: streams.update({number: inputs[0]})
        )
    backbone.label_logits(batch_of(backbone, rows_of(backbone)))
    for number, stream in streams.items():
        attention = f"decoder_{number}_self_attention"
        assert torch.equal(entered[attention], stream)
        middle = stream + added[attention]
        torch.testing.assert_close(entered[f"decoder_{number}_feed_forward"], middle)


def test_a_second_tower_is_no_projector() -> None:
    language = fresh("llava").language
    one = find_parts(language)
    language.model.video_tower = deepcopy(one.tower)
    both = find_parts(language)
    assert [*map(id, both.projector)] == [*map(id, one.projector)]
    assert {*both.tower.children()} == {one.tower, language.model.video_tower}


def test_a_model_without_tower_or_output_layer_is_refused() -> None:
    for name in ("model.vision_tower", "lm_head"):
        language = fresh("llava").language
        holder, _, child = name.rpartition(".")
        setattr(language.get_submodule(holder), child, None)
        with pytest.raises(UsageError, match="'llava': this model has no decoder of 2 layers with"):
            find_parts(language)


def spoilt(change: Any) -> Chat:
    """A model whose second layer is made otherwise."""
    backbone = fresh("llava")
    backbone.__dict__.pop("_sites", None)
    change(backbone.layers("decoder")[1])
    return backbone


def test_layers_of_another_make_are_refused_by_name_and_number() -> None:
    def fused(layer: Any) -> None:
        layer.self_attn.qkv_proj = layer.self_attn.q_proj
        del layer.self_attn.q_proj

    def experts(layer: Any) -> None:
        layer.mlp.experts = nn.Parameter(torch.zeros(2, 3, 4))

    def bare(layer: Any) -> None:
        layer.mlp = nn.Linear(32, 32)

    for change, word in {fused: "q_proj", experts: "mixture of experts", bare: "mlp"}.items():
        with pytest.raises(UsageError, match=f"'llava', layer 1 .*{word}.*full, frozen, norms"):
            spoilt(change).sites()


def test_other_kinds_of_models_are_refused() -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 40}
    with torch.device("meta"):
        opt = {"model_type": "opt", "ffn_dim": 64, "word_embed_proj_dim": 32, **sizes}
        formers = {**sizes, "intermediate_size": 32, "encoder_hidden_size": 16}
        config = Blip2Config(vision_config=VISION, qformer_config=formers, text_config=opt)
        blip: Any = Blip2ForConditionalGeneration(config)
        bart = {"model_type": "bart", "d_model": 32, "vocab_size": 40}
        bart |= {f"{side}_layers": 1 for side in ("encoder", "decoder")}
        bart |= {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
        stages = {"embed_dim": [8] * 4, "num_heads": [2] * 4, "num_groups": [2] * 4}
        vision = {**stages, "depths": [1] * 4, "projection_dim": 32}
        florence: Any = Florence2ForConditionalGeneration(
            Florence2Config(vision_config=vision, text_config=bart)
        )
    with pytest.raises(UsageError, match=r"'blip-2', layer 0 .*fc1, fc2"):
        find_sites("blip-2", find_parts(blip), 32)
    with pytest.raises(UsageError, match="'florence2' answers by an encoder-decoder"):
        find_parts(florence)
