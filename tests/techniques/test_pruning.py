"""What pruning keeps: measured on text alone, then walked through the network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.techniques.toys import GATED, TASKS, toy_backbone, toy_batch
from vlbench.cards.schema import MethodCard
from vlbench.techniques.adapt import AdaptedModel, adapt
from vlbench.techniques.lst import narrow_stacks
from vlbench.techniques.pruning import Importances, importances, prune
from vlbench.tensors import unique_state


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


def test_gate_and_value_of_a_gated_feed_forward_keep_the_same_rows() -> None:
    backbone = toy_backbone("t5", **GATED)
    gated = backbone.language.encoder.block[0].layer[1].DenseReluDense
    with torch.no_grad():
        gated.wi_1.weight.copy_(2 * gated.wi_0.weight)
    stacks = narrow_stacks(backbone, 4)
    prune(backbone, importances(backbone, examples(1), 1), stacks)
    narrow: Any = stacks["encoder"].get_submodule("block.0.layer.1.DenseReluDense")
    assert torch.equal(narrow.wi_1.weight, 2 * narrow.wi_0.weight)


def adapted(kind: str, **params: Any) -> AdaptedModel:
    backbone = toy_backbone(kind)
    with torch.no_grad():
        for norm in backbone.norms():
            for parameter in norm.parameters():
                parameter.normal_()  # rows that differ
        for bias in backbone.biases():
            bias.normal_()
    card = MethodCard(
        name="mine", title="Mine", technique="lst", params=params, train={"norms": False}
    )
    return adapt(backbone, card, TASKS)


def examples(number: int) -> Iterator[Any]:
    """Batches of one example; their loss is not asked for."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(number):
        batch = toy_batch()
        batch.input_ids = torch.randint(3, 100, (1, 5), generator=generator)
        batch.features = batch.features[:1]
        batch.target_ids = torch.randint(3, 100, (1, 3), generator=generator)
        yield batch, None


@pytest.fixture(params=["bart", "t5"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_importance_is_the_squared_gradient_of_the_pretrained_models_own_loss(kind: str) -> None:
    model = adapted(kind)
    found = importances(model.backbone, examples(3), 2)
    language = model.backbone.language.eval().requires_grad_(True)
    sums = {name: torch.zeros_like(p) for name, p in language.named_parameters()}
    for batch, _ in examples(2):
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
    model = adapted(kind, initialisation="pruned", samples=2)
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


def rows(number: int, kept: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(number, generator=generator)[:kept].sort().values


def test_each_layer_keeps_its_rows_and_the_columns_of_the_layer_before(kind: str) -> None:
    model = adapted(kind, reduction=4)
    backbone, generator = model.backbone, torch.Generator().manual_seed(3)
    found: Importances = {backbone.token_embedding: torch.zeros_like(backbone.token_embedding)}
    kept = rows(32, 8, generator)
    found[backbone.token_embedding][:, kept] = 1.0
    expected: dict[str, Tensor] = {}
    for side in ("encoder", "decoder"):
        wide = backbone.stack(side)  # type: ignore[arg-type]
        for paths in chain(kind, side):
            modules: list[Any] = [wide.get_submodule(path) for path in paths]
            columns = kept
            if isinstance(modules[0], nn.Linear):
                kept = rows(modules[0].out_features, modules[0].out_features // 4, generator)
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
    stacks = {"encoder": model.technique.encoder.stack, "decoder": model.technique.decoder.stack}
    prune(backbone, found, stacks)  # type: ignore[arg-type]
    copied = {name: p for name, p in model.technique.named_parameters() if ".stack." in name}
    assert copied.keys() == expected.keys()
    for name, parameter in copied.items():
        assert torch.equal(parameter, expected[name]), name


def test_query_key_and_value_keep_the_rows_of_the_largest_product() -> None:
    model = adapted("t5", reduction=8)
    backbone = model.backbone
    found = importances(backbone, examples(1), 1)
    attention: Any = backbone.layers("encoder")[0].get_submodule("layer.0.SelfAttention")
    columns = found[backbone.token_embedding].sum(dim=0).topk(4).indices.sort().values
    product = torch.ones(32, 4, dtype=torch.float64)
    for linear in (attention.q, attention.k, attention.v):
        product *= found[linear.weight][:, columns]
    largest = product.sum(dim=1).topk(4).indices.sort().values
    stacks = {"encoder": model.technique.encoder.stack, "decoder": model.technique.decoder.stack}
    prune(backbone, found, stacks)  # type: ignore[arg-type]
    side = stacks["encoder"].block[0].layer[0].SelfAttention
    for name in ("q", "k", "v"):
        kept = attention.get_submodule(name).weight[largest][:, columns]
        assert torch.equal(side.get_submodule(name).weight, kept)


def test_nothing_pruned_is_the_whole_network(kind: str) -> None:
    model = adapted(kind, reduction=1, initialisation="pruned", samples=1)
    model.technique.start(model.backbone, examples(1))
    for side in ("encoder", "decoder"):
        own = dict(model.backbone.stack(side).named_parameters())  # type: ignore[arg-type]
        ladder = getattr(model.technique, side)
        for name, parameter in ladder.stack.named_parameters():
            assert torch.equal(parameter, own[name]), name


def test_no_more_examples_are_read_than_asked_for(kind: str) -> None:
    for initialisation, read in (("pruned", 3), ("random", 0)):
        model = adapted(kind, initialisation=initialisation, samples=3)
        stream = examples(10)
        model.technique.start(model.backbone, stream)
        assert len(list(stream)) == 10 - read


def test_one_order_of_examples_gives_one_initialisation(kind: str) -> None:
    found = []
    for _ in range(2):
        model = adapted(kind, initialisation="pruned", samples=4)
        torch.manual_seed(0)
        model.technique.start(model.backbone, examples(4))
        found.append([p for n, p in model.technique.named_parameters() if ".stack." in n])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
