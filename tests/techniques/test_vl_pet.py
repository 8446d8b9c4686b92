from __future__ import annotations

import copy
from functools import partial
from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.techniques.models import (
    IMAGE_TASKS,
    Flow,
    adapted,
    assert_steps_give_what_one_pass_gives,
    stirred,
)
from tests.techniques.toys import toy_backbone, toy_batch
from vlbench.backbones import build_backbone
from vlbench.backbones.sites import Site
from vlbench.cards import load_method, resolve_method
from vlbench.checkpoints.authors import Name, authors_names, spelt
from vlbench.errors import UsageError
from vlbench.techniques.adapt import AdaptedModel, adapt, count, trained_parameters
from vlbench.training.optimiser import parameter_groups

EACH = pytest.mark.parametrize("kind", ["bart", "t5"])
GRANULARITIES = ("small", "middle-x", "middle-y", "large")
EVERY = pytest.mark.parametrize("granularity", GRANULARITIES)
WIDTH, LAYERS = 32, 2
PARAMS: dict[str, Any] = {"width": 8, "gate_width": 4, "value_width": 6}


def vl_pet(kind: str, granularity: str = "large", **params: Any) -> AdaptedModel:
    params = {**PARAMS, "granularity": granularity, **params}
    return adapted(kind, IMAGE_TASKS, technique="vl_pet", params=params)


def linear(layer: Any, x: Tensor) -> Tensor:
    return x @ layer.weight.T + layer.bias


def gelu(x: Tensor) -> Tensor:
    """Its tanh form."""
    return 0.5 * x * (1 + torch.tanh(sqrt(2 / torch.pi) * (x + 0.044715 * x**3)))


def bottleneck(module: Any, u: Tensor) -> Tensor:
    return linear(module.up, gelu(linear(module.down, u)))


def gate(module: Any, granularity: str, x: Tensor, y: Tensor) -> Tensor:
    """G as the paper writes it."""
    if granularity == "large":
        return torch.sigmoid(bottleneck(module, x))
    if granularity == "middle-x":
        return torch.sigmoid(linear(module.of_sum, x + y))
    if granularity == "middle-y":
        return 1 + module.g.expand_as(x)
    tokens = [
        torch.sigmoid(linear(module.of_both, torch.cat(both, -1)))
        for both in zip(x, y, strict=True)
    ]
    return torch.stack([each.mean() for each in tokens])[:, None, None]


def of_encoder(model: AdaptedModel) -> list[Site]:
    kinds = ("self_attention", "feed_forward")
    return [s for s in model.backbone.sites() if s.side == "encoder" and s.kind in kinds]


def of_values(model: AdaptedModel) -> list[Site]:
    sites = [site for site in model.backbone.sites() if site.side == "decoder"]
    return [s for s in sites if s.kind == "value" and s.sublayer == "cross_attention"]


@EACH
@EVERY
@torch.no_grad()
def test_an_encoder_output_is_gated_as_the_paper_says(kind: str, granularity: str) -> None:
    model = stirred(vl_pet(kind, granularity, scale=0.3))
    flow = Flow(of_encoder(model))
    model(toy_batch())
    for site in of_encoder(model):
        x, h, module = flow.entered[site.name], flow.before[site.name], model.technique.sites
        module = module[site.name]
        y = h + bottleneck(module.bottleneck, h)
        expected = 0.3 * gate(module.gate, granularity, x, y) * y
        torch.testing.assert_close(flow.after[site.name], expected)
        assert x.shape == (2, 5 + 4, WIDTH)  # text with its padding, then the picture


@EACH
@torch.no_grad()
def test_gates_read_the_residual_stream_as_it_is_before_any_norm(kind: str) -> None:
    model = stirred(vl_pet(kind))
    layer: Any = model.backbone.layers("encoder")[1]
    streams: list[Tensor] = []
    if kind == "bart":  # its norms take what enters plus what comes out
        for norm in (layer.self_attn_layer_norm, layer.final_layer_norm):
            norm.register_forward_pre_hook(lambda module, inputs: streams.append(inputs[0]))
    else:
        for part in layer.layer:
            part.register_forward_hook(
                lambda module, inputs, output: streams.append(
                    output[0] if isinstance(output, tuple) else output
                )
            )
    flow = Flow(of_encoder(model))
    model(toy_batch())
    for stream, name in zip(streams, ("self_attention", "feed_forward"), strict=True):
        name = f"encoder_1_{name}"
        torch.testing.assert_close(stream, flow.entered[name] + flow.after[name])


@EACH
@torch.no_grad()
def test_in_the_decoder_only_values_of_the_cross_attention_change(kind: str) -> None:
    model = stirred(vl_pet(kind))
    everything = [site for site in model.backbone.sites() if site.side == "decoder"]
    flow = Flow(everything)
    model(toy_batch())
    for site in everything:
        before, after = flow.before[site.name], flow.after[site.name]
        if site not in of_values(model):
            assert torch.equal(before, after)
            continue
        value: Any = model.technique.sites[site.name]
        encoded = flow.entered[site.name]
        torch.testing.assert_close(after, before + bottleneck(value.bottleneck, encoded))


@EACH
def test_its_modules_stand_at_the_sites_it_claims(kind: str) -> None:
    model = vl_pet(kind)
    sites = [site.name for site in of_encoder(model) + of_values(model)]
    assert len(sites) == 2 * LAYERS + LAYERS
    assert list(model.technique.sites) == sites
    assert model.technique.claims(model.backbone) == set(sites)


@EACH
@EVERY
def test_step_by_step_logits_with_caches_are_those_of_one_pass(kind: str, granularity: str) -> None:
    assert_steps_give_what_one_pass_gives(stirred(vl_pet(kind, granularity)))


@torch.no_grad()
def test_an_answer_takes_its_values_once_and_is_the_same_without_caches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = stirred(vl_pet("t5"))
    values = [model.technique.sites[site.name] for site in of_values(model)]
    calls: list[nn.Module] = []
    for value in values:
        value.register_forward_hook(lambda module, inputs, output: calls.append(module))
    cached = model.generate(toy_batch(), 5, 9)
    assert calls == values
    generate = model.backbone.language.generate
    uncached = partial(generate, use_cache=False)
    monkeypatch.setattr(model.backbone.language, "generate", uncached)
    assert model.generate(toy_batch(), 5, 9) == cached
    assert len(calls) > 2 * len(values)  # again for every token


@EACH
@pytest.mark.parametrize("norms", [True, False])
def test_the_encoders_norms_train_where_the_card_says_so_and_the_decoders_never(
    kind: str, norms: bool
) -> None:
    model = adapted(kind, technique="vl_pet", params=PARAMS, train={"norms": norms})
    expected = set(model.technique.parameters()) | set(model.backbone.visual.parameters())
    if norms:
        expected |= {p for norm in model.backbone.norms("encoder") for p in norm.parameters()}
    assert set(trained_parameters(model).values()) == expected
    decoder = [p for norm in model.backbone.norms("decoder") for p in norm.parameters()]
    assert decoder and not expected & set(decoder)


def test_biases_are_spared_from_decay_and_the_gate_per_channel_is_not() -> None:
    model = vl_pet("t5", "middle-y")
    _, spared = parameter_groups(model, 0.01, model.undecayed())
    for name, parameter in model.technique.named_parameters():
        is_spared = any(parameter is each for each in spared["params"])
        assert is_spared == name.endswith("bias"), name


@EVERY
def test_the_modules_have_the_papers_sizes(granularity: str) -> None:
    r, low, value, d = 8, 4, 6, WIDTH
    gates = {
        "small": 2 * d + 1,
        "middle-x": d + 1,
        "middle-y": d,
        "large": 2 * low * d + low + d,
    }
    technique = vl_pet("bart", granularity).technique
    expected = 2 * LAYERS * (2 * r * d + r + d + gates[granularity])
    expected += LAYERS * (2 * value * d + value + d)
    assert sum(p.numel() for p in technique.parameters()) == expected


@pytest.mark.parametrize(
    ("method", "backbone", "suite", "trainable", "total"),
    [
        ("vl-pet-small", "clip-bart", "image-text", 4_291_020, 143_845_068),
        ("vl-pet-middle-x", "clip-bart", "image-text", 4_281_804, 143_835_852),
        ("vl-pet-middle-y", "clip-bart", "image-text", 4_281_792, 143_835_840),
        ("vl-pet-large", "clip-bart", "image-text", 6_052_416, 145_606_464),
        ("vl-pet-small", "clip-bart", "video-text", 3_111_372, 142_665_420),
        ("vl-pet-middle-x", "clip-bart", "video-text", 3_102_156, 142_656_204),
        ("vl-pet-middle-y", "clip-bart", "video-text", 3_102_144, 142_656_192),
        ("vl-pet-large", "clip-bart", "video-text", 4_872_768, 144_426_816),
        ("vl-pet-small", "clip-t5", "image-text", 10_518_168, 233_457_816),
        ("vl-pet-middle-x", "clip-t5", "image-text", 10_499_736, 233_439_384),
        ("vl-pet-middle-y", "clip-t5", "image-text", 10_499_712, 233_439_360),
        ("vl-pet-large", "clip-t5", "image-text", 17_582_208, 240_521_856),
    ],
)
def test_as_many_parameters_as_in_the_authors_code(
    method: str, backbone: str, suite: str, trainable: int, total: int
) -> None:
    card = resolve_method(load_method(method), backbone, suite)
    visual: Any = "video" if suite == "video-text" else "image"
    found = count(adapt(build_backbone(backbone, meta=True, visual=visual), card, IMAGE_TASKS))
    assert (found.trainable, found.total) == (trainable, total)


def names_of(model: AdaptedModel) -> list[Name]:
    found = authors_names(model, spelt(IMAGE_TASKS))
    return [name for name in found if name.ours.startswith("technique.")]


def in_their_code(kind: str, granularity: str) -> set[str]:
    """src/my_transformers/modeling_{bart,t5}.py of VL-PET."""
    gates = {
        "large": [
            f"large_x_{each}" for each in ("down.weight", "down.bias", "up.weight", "up.bias")
        ],
        "middle-x": ["middle_xy_add.weight", "middle_xy_add.bias"],
        "middle-y": ["middle_ia3_add"],
        "small": ["small_xy_cat.weight", "small_xy_cat.bias"],
    }
    names = set()
    for layer in range(LAYERS):
        for number, part in enumerate(("attn", "ff")):
            path = f"model.encoder.layers.{layer}."
            if kind == "t5":
                path = f"encoder.block.{layer}.layer.{number}."
            layers = [f"{part}_adapter_multihead_down.{head}" for head in range(4)]
            layers.append(f"{part}_adapter_multihead_up")
            names |= {f"{path}{each}.{leaf}" for each in layers for leaf in ("weight", "bias")}
            gating = f"{path}encoder_{part}_adapter_gating"
            names |= {f"{gating}_{each}" for each in gates[granularity]}
        path = f"model.decoder.layers.{layer}.encoder_attn"
        if kind == "t5":
            path = f"decoder.block.{layer}.layer.1.EncDecAttention"
        adapters = f"{path}.attn_value_parallel_adapter.adapters"
        for task in ("vqa", "gqa", "nlvr", "caption"):
            for half in ("down_sampler", "up_sampler"):
                names |= {f"{adapters}.{task}.{half}.{leaf}" for leaf in ("weight", "bias")}
    return names


@EACH
@EVERY
def test_every_tensor_has_its_names_in_the_authors_checkpoints(kind: str, granularity: str) -> None:
    model = vl_pet(kind, granularity)
    names = names_of(model)
    own = {f"technique.{name}" for name, _ in model.technique.named_parameters()}
    assert {name.ours for name in names} == own
    theirs = [each for name in names for each in name.theirs]
    assert len(theirs) == len(set(theirs))
    assert set(theirs) == in_their_code(kind, granularity)


@EACH
def test_their_pieces_of_down_are_rows_of_ours(kind: str) -> None:
    model = vl_pet(kind, heads=2)
    down = "technique.sites.encoder_1_feed_forward.bottleneck.down.weight"
    rows = {name.theirs[0]: name.rows for name in names_of(model) if name.ours == down}
    path = {"bart": "model.encoder.layers.1.", "t5": "encoder.block.1.layer.1."}[kind]
    assert rows == {
        f"{path}ff_adapter_multihead_down.0.weight": slice(0, 4),
        f"{path}ff_adapter_multihead_down.1.weight": slice(4, 8),
    }


@pytest.mark.parametrize("meta", [True, False])
def test_pieces_of_down_must_be_equal(meta: bool) -> None:
    backbone = toy_backbone("bart", meta=meta)
    settings = ["params.width=10"]
    card = resolve_method(load_method("vl-pet-large"), "mini-bart", "image-text", settings)
    with pytest.raises(UsageError, match=r"params\.heads=4 does not divide params\.width=10"):
        adapt(backbone, card, IMAGE_TASKS)


@pytest.mark.parametrize("sharing", ["task", "up", "down"])
def test_all_tasks_share_it(sharing: str) -> None:
    with pytest.raises(UsageError, match=f"VLPET cannot share '{sharing}'. Known: all"):
        adapted("bart", technique="vl_pet", sharing=sharing, params=PARAMS)


@EACH
@torch.no_grad()
def test_a_copy_is_independent(kind: str) -> None:
    model = vl_pet(kind)
    before = model(toy_batch())
    twin = copy.deepcopy(model)
    for parameter in twin.technique.parameters():
        parameter.zero_()
    assert torch.equal(model(toy_batch()), before)
    assert not torch.equal(twin(toy_batch()), before)
