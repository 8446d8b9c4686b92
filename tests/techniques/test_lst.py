"""Ladder Side-Tuning: what flows where, and that generation's caches change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.techniques.models import card
from tests.techniques.toys import TASKS, toy_backbone, toy_batch
from vlbench.backbones.base import SIDES
from vlbench.backbones.encoder_decoder import EncoderDecoder, states
from vlbench.cards.schema import MethodCard
from vlbench.errors import UsageError
from vlbench.techniques.adapt import AdaptedModel, adapt, trained_parameters
from vlbench.techniques.lst import importances, prune
from vlbench.tensors import unique_state


def lst(**params: Any) -> MethodCard:
    return card(technique="lst", params=params, train={"norms": False})


def adapted(backbone: str | EncoderDecoder, **params: Any) -> AdaptedModel:
    """A toy with a side network whose layers all tell on the logits."""
    if isinstance(backbone, str):
        backbone = toy_backbone(backbone)
    model = adapt(backbone, lst(**params), TASKS).eval()
    with torch.no_grad():
        for parameter in model.technique.parameters():
            if parameter.dim() == 2:
                parameter.normal_(std=0.3)
    return model


@pytest.fixture(params=["bart", "t5"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(kind: str) -> AdaptedModel:
    return adapted(kind)


@torch.no_grad()
def test_the_backbone_reads_text_alone_and_the_side_network_pictures_too(
    model: AdaptedModel,
) -> None:
    batch, other = toy_batch(), toy_batch()
    other.features = -batch.features
    width, text = model.backbone.width, batch.input_ids.shape[1]
    (one, _), (two, _) = model.backbone.encode(batch), model.backbone.encode(other)
    assert one.shape == (2, text + 4, width + width // 4)
    assert torch.equal(one[..., :width], two[..., :width])
    assert not one[:, text:, :width].any()
    assert not torch.isclose(one[:, :, width:], two[:, :, width:]).all(dim=-1).any()
    alone = model.backbone.language.get_encoder()(
        batch.input_ids, attention_mask=batch.input_ids.ne(model.backbone.config.pad_token_id)
    ).last_hidden_state
    mask = batch.input_ids != model.backbone.config.pad_token_id
    torch.testing.assert_close(one[:, :text, :width][mask], alone[mask])


def test_no_gradient_reaches_the_backbone_and_all_that_trains_has_one(model: AdaptedModel) -> None:
    seen: list[bool] = []

    def look(layer: nn.Module, inputs: Any, output: Any) -> None:
        seen.append(states(output).requires_grad)

    for side in SIDES:
        for layer in model.backbone.layers(side):
            layer.register_forward_hook(look)
    model.train()(toy_batch(images=2)).square().mean().backward()
    assert seen == [False] * 4
    for name, parameter in model.named_parameters():
        trains = name.startswith(("technique.", "backbone.visual."))
        assert (parameter.grad is not None) == trains == parameter.requires_grad, name


@torch.no_grad()
@pytest.mark.parametrize("images", [1, 2])
def test_answers_with_caches_are_those_without(
    model: AdaptedModel, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = toy_batch(images=images)
    cached = [model.generate(batch, beams, 9) for beams in (1, 5)]
    language = model.backbone.language
    caches: list[Any] = []

    def note(language: nn.Module, inputs: Any, named: dict[str, Any]) -> None:
        caches.append(named.get("past_key_values"))

    language.register_forward_pre_hook(note, with_kwargs=True)
    monkeypatch.setattr(language.generation_config, "use_cache", False)
    assert cached == [model.generate(batch, beams, 9) for beams in (1, 5)]
    assert caches and not any(caches)


@torch.no_grad()
def test_gates_mix_the_ladder_in(kind: str) -> None:
    batch = toy_batch()
    learned, fixed, none = (adapted(kind, gates=each) for each in ("learned", "fixed", "none"))
    assert torch.equal(learned(batch), fixed(batch))
    assert not torch.equal(learned(batch), none(batch))
    gates = [name for name in trained_parameters(learned) if "gates" in name]
    assert len(gates) == 4
    for model in (fixed, none):
        assert [
            n for n in trained_parameters(learned) if n not in trained_parameters(model)
        ] == gates
    shut = adapted(kind, alpha=10.0)
    before = shut(batch)
    for side in (shut.technique.encoder, shut.technique.decoder):
        side.rungs.requires_grad_(False)
        for rung in side.rungs:
            rung.weight.zero_()
    assert torch.equal(shut(batch), before)  # a gate of one lets nothing of the backbone in


@pytest.mark.parametrize(
    ("kind", "reduction", "fault"),
    [
        ("bart", 3, "params.reduction=3: embed_dim must be divisible by num_heads"),
        ("t5", 16, "params.reduction=16 leaves nothing of d_kv, 8"),
    ],
)
def test_widths_that_do_not_divide_are_refused(kind: str, reduction: int, fault: str) -> None:
    for backbone in (toy_backbone(kind), toy_backbone(kind, meta=True)):
        with pytest.raises(UsageError, match=fault):
            adapted(backbone, reduction=reduction)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"technique": "lst"}, r"train\.norms: .* Set train\.norms=false"),
        ({"technique": "lst+adapter"}, "'lst' and 'adapter' cannot be composed"),
        ({"technique": "bitfit+lst"}, "'lst' and 'bitfit' cannot be composed"),
    ],
)
def test_what_would_train_beside_it_is_refused(table: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        adapt(toy_backbone("t5"), card(**table), TASKS)


# Pruning: what it keeps, measured on text alone, then walked through the network


def attend(path: str, q: str, k: str, v: str, o: str) -> list[list[str]]:
    return [[f"{path}.{q}", f"{path}.{k}", f"{path}.{v}"], [f"{path}.{o}"]]


def block(kind: str, side: str) -> list[list[str]]:
    """A layer's modules in the order of the forward pass, written out a second time."""
    if kind == "bart":
        names = ("q_proj", "k_proj", "v_proj", "out_proj")
        own = [*attend("self_attn", *names), ["self_attn_layer_norm"]]
        cross = [*attend("encoder_attn", *names), ["encoder_attn_layer_norm"]]
        feed = [["fc1"], ["fc2"], ["final_layer_norm"]]
    else:
        own = [["layer.0.layer_norm"], *attend("layer.0.SelfAttention", *"qkvo")]
        cross = [["layer.1.layer_norm"], *attend("layer.1.EncDecAttention", *"qkvo")]
        last = "layer.1" if side == "encoder" else "layer.2"
        feed = [[f"{last}.layer_norm"], *([f"{last}.DenseReluDense.{n}"] for n in ("wi", "wo"))]
    return [*own, *(cross if side == "decoder" else []), *feed]


def chain(kind: str, side: str) -> list[list[str]]:
    """The same of a stack of two layers."""
    layers = "layers" if kind == "bart" else "block"
    groups = block(kind, side)
    found = [[f"{layers}.{i}.{path}" for path in group] for i in range(2) for group in groups]
    if kind == "bart":
        return [["layernorm_embedding"], *found]
    return [*found, ["final_layer_norm"]]


def pruned(kind: str, **params: Any) -> AdaptedModel:
    backbone = toy_backbone(kind)
    with torch.no_grad():
        for norm in backbone.norms():
            for parameter in norm.parameters():
                parameter.normal_()  # rows that differ
        for bias in backbone.biases():
            bias.normal_()
    return adapt(backbone, lst(**params), TASKS)


def examples(number: int) -> Iterator[Any]:
    """Batches of one example."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(number):
        batch = toy_batch()
        batch.input_ids = torch.randint(3, 100, (1, 5), generator=generator)
        batch.features = batch.features[:1]
        batch.target_ids = torch.randint(3, 100, (1, 3), generator=generator)
        yield batch


def test_importance_is_the_squared_gradient_of_the_pretrained_models_own_loss(kind: str) -> None:
    model = pruned(kind)
    found = importances(model.backbone, examples(2))
    language = model.backbone.language.eval().requires_grad_(True)
    sums = {name: torch.zeros_like(p) for name, p in language.named_parameters()}
    for batch in examples(2):
        language.zero_grad(set_to_none=True)
        language(input_ids=batch.input_ids, labels=batch.target_ids).loss.backward()
        for name, parameter in language.named_parameters():
            if parameter.grad is not None:
                sums[name] += parameter.grad.square()
    compared = [name for name, p in language.named_parameters() if p in found]
    assert len(compared) == 2 * 6 + 2 * 10 + 1  # linear layers of both sides, token table
    for name in compared:
        torch.testing.assert_close(found[language.get_parameter(name)], sums[name])


def test_the_backbone_is_left_bit_for_bit_as_it_was(kind: str) -> None:
    model = pruned(kind, initialisation="pruned", samples=2)
    before = {name: t.clone() for name, t in unique_state(model).items()}
    trains = {name: p.requires_grad for name, p in model.named_parameters()}
    state = torch.get_rng_state()
    model.technique.start(model.backbone, examples(5))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.backbone.training
    for name, tensor in unique_state(model).items():
        is_side_layer = ".stack." in name
        assert torch.equal(tensor, before[name]) != is_side_layer, name
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == trains[name]
        assert parameter.grad is None


def some_rows(number: int, kept: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(number, generator=generator)[:kept].sort().values


def test_each_layer_keeps_its_rows_and_the_columns_of_the_layer_before(kind: str) -> None:
    model = pruned(kind, reduction=4)
    backbone, generator = model.backbone, torch.Generator().manual_seed(3)
    found = {backbone.token_embedding: torch.zeros_like(backbone.token_embedding)}
    kept = some_rows(32, 8, generator)
    found[backbone.token_embedding][:, kept] = 1.0
    expected: dict[str, Tensor] = {}
    for side in ("encoder", "decoder"):
        wide = backbone.stack(side)  # type: ignore[arg-type]
        for paths in chain(kind, side):
            modules: list[Any] = [wide.get_submodule(path) for path in paths]
            columns = kept
            if isinstance(modules[0], nn.Linear):
                kept = some_rows(modules[0].out_features, modules[0].out_features // 4, generator)
            for path, module in zip(paths, modules, strict=True):
                name = f"{side}.stack.{path}"
                if isinstance(module, nn.Linear):
                    importance = torch.rand(module.weight.shape, generator=generator)
                    importance[:, columns] *= 0.1
                    importance[kept[:, None], columns] += 1.0  # only what is left counts
                    found[module.weight] = importance
                    expected[f"{name}.weight"] = module.weight[kept][:, columns]
                else:
                    expected[f"{name}.weight"] = module.weight[kept]
                if getattr(module, "bias", None) is not None:
                    expected[f"{name}.bias"] = module.bias[kept]
        for own in backbone.position_biases(wide):
            name = f"{side}.stack.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
            expected[name] = own
    prune(backbone, found, model.technique.encoder.stack, model.technique.decoder.stack)
    copied = {name: p for name, p in model.technique.named_parameters() if ".stack." in name}
    assert copied.keys() == expected.keys()
    for name, parameter in copied.items():
        assert torch.equal(parameter, expected[name]), name
