"""What is known of an attached technique before it trains."""

from __future__ import annotations

import json
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import BartConfig, T5Config

from tests.techniques.models import adapted, stirred, train
from tests.techniques.toys import TASKS, toy_backbone, toy_batch
from vlbench.backbones import build_backbone
from vlbench.backbones.bart import new_bart
from vlbench.backbones.base import Backbone
from vlbench.backbones.t5 import new_t5
from vlbench.cards import find_tasks, load_method, resolve_method
from vlbench.cards.files import own_cards
from vlbench.cards.schema import MethodCard
from vlbench.errors import MissingError, UsageError
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
from vlbench.techniques.base import Technique
from vlbench.training.train import loss

KINDS = {"bart": "mini-bart", "t5": "clip-t5"}


def probed(kind: str, technique: str, meta: bool = False, **table: Any) -> AdaptedModel:
    card = MethodCard(name="test", title="Test", technique=technique, **table)
    return adapt(toy_backbone(kind, meta=meta), card, TASKS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", own_cards("methods"))
def test_all_that_our_cards_train_is_reached_and_looking_draws_nothing(
    method: str, kind: str
) -> None:
    card = resolve_method(load_method(method), KINDS[kind], "image-text")
    model = adapt(toy_backbone(kind), card, TASKS)
    state = torch.get_rng_state()
    check_reached(model, TASKS, card.shown)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training and model.backbone.language.training


@pytest.mark.parametrize("meta", [True, False])
@pytest.mark.parametrize(
    ("kind", "targets", "name"),
    [
        ("bart", {"target_modules": ["shared"]}, r"model\.shared\.lora_embedding_A"),
        ("t5", {"target_modules": ["embed_tokens"]}, r"encoder\.embed_tokens\.lora_embedding_A"),
        (
            "t5",
            {"target_modules": ["query"], "modules_to_save": ["embed_tokens"]},
            r"encoder\.embed_tokens\.modules_to_save",
        ),
    ],
)
def test_peft_layers_that_no_output_depends_on_are_refused_by_name(
    kind: str, targets: dict[str, Any], name: str, meta: bool
) -> None:
    params = {"config": "LoraConfig", **targets}
    model = probed(kind, "peft", meta, params=params, train={"norms": False})
    with pytest.raises(UsageError, match=rf"cards\.toml: trained but never reached.*{name}"):
        check_reached(model, TASKS, "cards.toml")


class Own(Technique):
    """A vector for each task behind every feed-forward; tests say what is wrong with it."""

    sharings = frozenset({"all"})

    def attach(self, backbone: Backbone) -> None:
        self.vectors = nn.ParameterDict({task: torch.zeros(32) for task in self.tasks})
        self.vectors.to(backbone.token_embedding.device)
        for site in backbone.sites():
            if site.kind == "feed_forward":
                site.on_passage(lambda x, y: self.change(backbone.current_task.name, x, y))

    def change(self, task: str, entered: Tensor, output: Tensor) -> Tensor:
        return output + self.vectors[task]


class FirstTaskOnly(Own):
    def change(self, task: str, entered: Tensor, output: Tensor) -> Tensor:
        return output + self.vectors[self.tasks[0]]


class Unhooked(Own):
    def change(self, task: str, entered: Tensor, output: Tensor) -> Tensor:
        return output


class Penalised(Unhooked):
    def penalty(self) -> Tensor:
        return sum((vector.square().sum() for vector in self.vectors.values()), torch.zeros(()))


class Identity(Own):
    starts_as_identity = True


class Swapped(Identity):
    def change(self, task: str, entered: Tensor, output: Tensor) -> Tensor:
        return entered + self.vectors[task]


class SwappedByName(Own):
    def attach(self, backbone: Backbone) -> None:
        super().attach(backbone)
        backbone.sites()[-1].on_passage(lambda output, entered: output)


def outside(technique: type[Technique], meta: bool = False) -> AdaptedModel:
    return probed("bart", f"{__name__}:{technique.__name__}", meta)


@pytest.mark.parametrize("meta", [True, False])
@pytest.mark.parametrize(
    ("technique", "names"), [(FirstTaskOnly, "vectors.two'"), (Unhooked, "vectors.one' and 1 more")]
)
def test_parameters_of_an_outside_technique_that_no_task_reaches_are_refused(
    technique: type[Technique], names: str, meta: bool
) -> None:
    with pytest.raises(UsageError, match=names):
        check_reached(outside(technique, meta), TASKS, "card")


def test_what_a_task_or_the_penalty_reaches_is_reached() -> None:
    check_reached(outside(Own), TASKS, "card")
    check_reached(outside(Penalised), TASKS, "card")


def test_a_technique_that_says_that_it_starts_as_the_identity_is_held_to_it() -> None:
    outside(Identity)
    with pytest.raises(UsageError, match="test: Swapped says starts_as_identity"):
        outside(Swapped)
    outside(Swapped, meta=True)  # nothing to compare: a run does


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["lora", "shared-lora", "bitfit"])
def test_ours_start_as_the_identity(
    method: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = resolve_method(load_method(method), KINDS[kind], "image-text")
    adapt(toy_backbone(kind), card, TASKS)
    monkeypatch.setattr(nn.init, "zeros_", nn.init.ones_)
    monkeypatch.setattr(torch, "zeros", torch.ones)
    if (method, kind) != ("bitfit", "bart"):  # which adds nothing there
        with pytest.raises(UsageError, match="says starts_as_identity"):
            adapt(toy_backbone(kind), card, TASKS)


@pytest.mark.parametrize("meta", [True, False])
def test_a_passage_whose_parameters_are_named_the_other_way_round_is_refused(meta: bool) -> None:
    with pytest.raises(UsageError, match=r"this one is change\(output, entered\)"):
        outside(SwappedByName, meta)


BATTERY = [
    {"technique": "full"},
    {"technique": "frozen"},
    {"technique": "adapter", "sharing": "task"},
    {"technique": "adapter", "sharing": "up"},
    {"technique": "compacter", "sharing": "all"},
    {"technique": "compacter", "params": {"shared_rule": True, "factorized": True}},
]


@pytest.mark.parametrize("table", BATTERY)
def test_training_moves_what_trains_and_nothing_else(toy: Any, table: dict[str, Any]) -> None:
    model = toy(**table)
    before = frozen_checksum(model)
    state = {name: tensor.clone() for name, tensor in trained_state(model).items()}
    losses = train(model, 2)
    assert losses[1] < losses[0]
    assert frozen_checksum(model) == before
    still = [name for name, t in trained_state(model).items() if torch.equal(t, state[name])]
    assert all(".layers.two." in name or "embed_positions" in name for name in still), still


@pytest.mark.parametrize("table", BATTERY)
def test_a_saved_adapter_gives_bit_equal_outputs(
    toy: Any, toy_batch: Any, table: dict[str, Any], tmp_path: Path
) -> None:
    model, fresh = toy(**table), toy(**table)
    train(model, 2)
    save_file(trained_state(model), str(tmp_path / "adapter.safetensors"))
    load_trained_state(fresh, load_file(str(tmp_path / "adapter.safetensors")), "adapter")
    with torch.no_grad():
        assert torch.equal(fresh(toy_batch), model(toy_batch))


def test_a_frozen_tensor_that_moved_changes_the_checksum(toy: Any) -> None:
    model = toy(technique="adapter")
    before = frozen_checksum(model)
    with torch.no_grad():
        model.technique.sites["encoder_0_feed_forward"].up.layers["all"].bias.add_(1)
    assert frozen_checksum(model) == before
    with torch.no_grad():
        model.backbone.token_embedding[5, 3] += 1e-6
    assert frozen_checksum(model) != before


def test_tensors_of_another_card_are_refused_and_nothing_is_copied(toy: Any) -> None:
    model = toy(technique="adapter", sharing="all")
    other = trained_state(toy(technique="adapter", sharing="task"))
    before = {name: tensor.clone() for name, tensor in trained_state(model).items()}
    with pytest.raises(MissingError, match=r"adapter\.safetensors: .* missing technique"):
        load_trained_state(model, other, "adapter.safetensors")
    assert all(torch.equal(t, before[name]) for name, t in trained_state(model).items())


ROWS = Path(__file__).resolve().parents[3] / "shared" / "reference" / "params_rows.json"


def rows() -> list[Any]:
    if not ROWS.is_file():
        return []
    found: list[Any] = json.loads(ROWS.read_text())["rows"]
    return found


@pytest.mark.parametrize(
    "row", rows(), ids=lambda r: f"{r['method']}-{r['backbone']}-{r['suite']}-{len(r['set'])}"
)
def test_the_count_is_the_authors(row: dict[str, Any]) -> None:
    settings = [f"{key}={json.dumps(value)}" for key, value in row["set"].items()]
    card = resolve_method(load_method(row["method"]), row["backbone"], row["suite"], settings)
    suite, tasks = find_tasks(row["suite"])
    assert suite == row["suite"]
    backbone = build_backbone(row["backbone"], meta=True, visual=tasks[0].visual)
    counts = count(adapt(backbone, card, [task.name for task in tasks]))
    assert (counts.trainable, counts.total) == (row["trainable"], row["total"])
    assert round(counts.percent, 4) == pytest.approx(row["trainable_percent"], abs=1.01e-4)


@pytest.mark.parametrize("technique", ["full", "frozen", "adapter", "compacter"])
def test_the_groups_add_up_to_the_whole(toy: Any, technique: str) -> None:
    model = toy(technique=technique)
    counts = count(model)
    assert counts.total == sum(group.total for group in counts.groups.values())
    assert counts.total == sum(p.numel() for p in model.parameters())
    assert counts.trainable == sum(p.numel() for p in trained_parameters(model).values())
    assert counts.groups["token table"].total == 128 * 32


def test_frozen_trains_the_visual_embedding_and_norms_where_the_card_says_so(toy: Any) -> None:
    model = toy(technique="frozen", train={"norms": False})
    visual = set(model.backbone.visual.parameters())
    assert set(trained_parameters(model).values()) == visual
    model = toy(technique="frozen", train={"norms": True})
    norms = {p for norm in model.backbone.norms() for p in norm.parameters()}
    found = set(trained_parameters(model).values())
    assert found == norms | set(model.backbone.visual.parameters())


def test_biases_are_counted_apart(toy: Any) -> None:
    groups = count(toy(technique="frozen", train={"norms": False})).groups
    assert groups["biases"].total == sum(p.numel() for p in biases_of_linear_layers(toy))
    assert groups["biases"].trainable == 0


def biases_of_linear_layers(toy: Any) -> list[Any]:
    backbone = toy(technique="frozen").backbone
    norms = {p for norm in backbone.norms() for p in norm.parameters()}
    return [p for p in backbone.biases() if p not in norms]


def test_full_trains_every_parameter(toy: Any) -> None:
    counts = count(toy(technique="full", train={"norms": False}))
    assert counts.percent == 100.0


WIDTH = 128


def backbone(kind: str) -> Backbone:
    torch.manual_seed(0)
    if kind == "bart":
        config: Any = BartConfig(
            vocab_size=128,
            d_model=WIDTH,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=128,
            decoder_ffn_dim=128,
            max_position_embeddings=32,
        )
        return new_bart(config, 64, visual_tokens=4)
    config = T5Config(
        vocab_size=128, d_model=WIDTH, d_ff=128, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    return new_t5(config, 64, visual_tokens=4)


def trained(kind: str, **table: Any) -> dict[str, torch.Tensor]:
    """What the technique added, by name, without `technique.`."""
    card = MethodCard(name="test", title="Test", **table)
    model = adapt(backbone(kind), card, ("one", "two"))
    found = trained_parameters(model)
    return {n[10:]: p.detach() for n, p in found.items() if n.startswith("technique.")}


def is_normal(tensor: torch.Tensor, std: float) -> bool:
    return abs(tensor.mean()) < std / 5 and 0.9 * std < tensor.std() < 1.1 * std


def is_uniform(tensor: torch.Tensor, bound: float) -> bool:
    spread = bound / sqrt(3)
    return 0.9 * bound < tensor.abs().max() <= bound and 0.9 * spread < tensor.std() < 1.1 * spread


def all_of(found: dict[str, torch.Tensor], ending: str) -> torch.Tensor:
    """All tensors whose name ends so, as one."""
    return torch.cat([t.flatten() for name, t in found.items() if name.endswith(ending)])


@pytest.mark.parametrize("sharing", ["task", "all", "up", "down"])
def test_adapters_start_near_the_identity_on_bart_and_far_from_it_on_t5(sharing: str) -> None:
    params = {"technique": "adapter", "sharing": sharing, "params": {"reduction": 2}}
    bart, t5 = trained("bart", **params), trained("t5", **params)
    assert is_normal(all_of(bart, "weight"), 0.02)
    assert not all_of(bart, "bias").any()
    downs = {n: t for n, t in t5.items() if ".down." in n}
    ups = {n: t for n, t in t5.items() if ".up." in n}
    for half, bound in ((downs, 1 / sqrt(WIDTH)), (ups, 1 / sqrt(WIDTH // 2))):
        assert is_uniform(all_of(half, "weight"), bound)
        assert is_uniform(all_of(half, "bias"), bound)


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_no_pass_touches_what_is_no_layer_of_torch(kind: str) -> None:
    found = trained(kind, technique="compacter", params={"reduction": 2, "init_range": 0.01})
    n, low = 2, WIDTH // 2
    bound = sqrt(2) * sqrt(6 / (WIDTH // n + low // n))
    assert is_uniform(all_of(found, ".w"), bound)
    assert is_normal(all_of(found, ".rule"), 0.01) or all_of(found, ".rule").numel() < 200
    assert not all_of(found, ".b").any()


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_lora_starts_as_the_frozen_layer(kind: str) -> None:
    found = trained(kind, technique="lora", params={"rank": 64})
    downs = torch.cat([t.flatten() for t in found.values() if t.any()])
    assert is_uniform(downs, 1 / sqrt(WIDTH))
    assert sum(not t.any() for t in found.values()) == len(found) // 2


def test_prompts_start_small_on_bart_and_large_on_t5() -> None:
    params = {"technique": "prompt", "params": {"length": 40, "hidden": 200}}
    bart, t5 = trained("bart", **params), trained("t5", **params)
    assert is_normal(all_of(bart, "weight"), 0.02)
    assert not all_of(bart, "bias").any()
    (embedding,) = [t for t in t5.values() if t.shape == (40, WIDTH)]
    assert is_normal(embedding, 1.0)
    (first,) = [t for t in t5.values() if t.shape == (200, WIDTH)]
    assert is_uniform(first, 1 / sqrt(WIDTH))


def test_hyperformer_overwrites_its_own_start_on_bart_only() -> None:
    bart, t5 = (trained(kind, technique="hyperformer") for kind in ("bart", "t5"))
    for found, std in ((bart, 0.02), (t5, 0.01)):
        matrices = [t for t in found.values() if t.dim() == 2 and t.shape[1] not in (512,)]
        assert is_normal(torch.cat([t.flatten() for t in matrices]), std)
    tasks = {k: [t for t in f.values() if t.shape == (512,)] for k, f in (("b", bart), ("t", t5))}
    for found_tasks in tasks.values():
        assert len(found_tasks) == 2
        assert is_normal(torch.cat(found_tasks), 1.0)
    layers = {"bart": bart, "t5": t5}
    for kind, std in (("bart", 0.02), ("t5", 1.0)):
        tables = [t for t in layers[kind].values() if t.shape == (1, 512)]
        assert is_normal(torch.cat(tables).flatten(), std)


TECHNIQUES: dict[str, dict[str, Any]] = {
    "full": {},
    "adapter": {},
    "compacter": {},
    "lora": {"params": {"rank": 4}},
    "prompt": {"params": {"length": 3, "hidden": 8}},
    "vl_pet": {"params": {"width": 4, "gate_width": 4, "value_width": 4}},
}


def step(model: AdaptedModel) -> tuple[torch.Tensor, dict[str, Any], int]:
    """Loss, gradients, and the bytes kept for the backward pass."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    batch = toy_batch()
    torch.manual_seed(3)
    model.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model.label_logits(batch)
        value = loss(logits, batch.target_ids, batch.scores, "per-example")
    size = sum(kept.values())
    value.backward()
    return value.detach(), {n: p.grad for n, p in trained_parameters(model).items()}, size


@pytest.mark.parametrize("kind", ["bart", "t5"])
@pytest.mark.parametrize("technique", TECHNIQUES)
def test_loss_and_gradients_are_the_same_with_less_kept(kind: str, technique: str) -> None:
    table = {"technique": technique, "train": {"dropout": 0.2}, **TECHNIQUES[technique]}
    model = stirred(adapted(kind, **table)).train()
    expected, gradients, size = step(model)
    model.checkpoint_activations()
    value, found, less = step(model)
    assert torch.equal(value, expected)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-7, rtol=1e-6, msg=name)
    assert less < 0.8 * size


@pytest.mark.parametrize(
    ("technique", "params"),
    [
        ("lst", {"initialisation": "random"}),
        ("hyperformer", {"task_dim": 8, "hidden": 8}),
        ("hyperformer+prompt", {"hyperformer": {"task_dim": 8, "hidden": 8}}),
    ],
)
def test_what_cannot_be_computed_twice_refuses(technique: str, params: dict[str, Any]) -> None:
    model = adapted("bart", technique=technique, params=params, train={"norms": False})
    with pytest.raises(UsageError, match="cannot be computed twice"):
        model.checkpoint_activations()
