"""Ladder Side-Tuning: what flows where, and that generation's caches change nothing."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.runs.builders import Bench, do, predictions, rows
from tests.techniques.models import assert_steps_give_what_one_pass_gives
from tests.techniques.toys import TASKS, toy_backbone, toy_batch
from vlbench.backbones import build_backbone
from vlbench.backbones.base import Backbone, states
from vlbench.backbones.sites import SIDES
from vlbench.cards import load_method, resolve_method
from vlbench.cards.schema import MethodCard
from vlbench.data.readers import load_reader
from vlbench.errors import UsageError
from vlbench.runs.callbacks import Callbacks
from vlbench.runs.spec import RunSpec
from vlbench.techniques.adapt import AdaptedModel, adapt, count, trained_parameters
from vlbench.techniques.lst import LST, SideCache


def adapted(backbone: str | Backbone, **params: Any) -> AdaptedModel:
    """A toy with a side network whose layers all tell on the logits."""
    if isinstance(backbone, str):
        backbone = toy_backbone(backbone)
    card = MethodCard(
        name="mine", title="Mine", technique="lst", params=params, train={"norms": False}
    )
    model = adapt(backbone, card, TASKS).eval()
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


def test_far_less_is_kept_for_the_backward_pass_than_by_adapters(kind: str) -> None:
    def kept(model: AdaptedModel) -> int:
        sizes: dict[int, int] = {}
        frozen = {p.data_ptr() for p in model.parameters()}

        def keep(tensor: Tensor) -> Tensor:
            if tensor.untyped_storage().data_ptr() not in frozen:
                sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output = model(toy_batch())
        assert output.requires_grad
        return sum(sizes.values())

    card = MethodCard(name="mine", title="Mine", technique="adapter", train={"norms": False})
    assert kept(adapted(kind)) < 0.6 * kept(adapt(toy_backbone(kind), card, TASKS))


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
    generate = language.generate
    monkeypatch.setattr(language, "generate", lambda **named: generate(**named, use_cache=False))
    assert cached == [model.generate(batch, beams, 9) for beams in (1, 5)]
    assert caches and not any(caches)


def test_step_by_step_logits_with_both_caches_are_those_of_one_pass(model: AdaptedModel) -> None:
    cache = assert_steps_give_what_one_pass_gives(model)
    for part in (cache.self_attention_cache, cache.cross_attention_cache):
        assert [isinstance(layer, SideCache) for layer in part.layers] == [False] * 2 + [True] * 2
        assert all(layer.is_initialized for layer in part.layers)


def test_beams_of_one_example_are_those_it_has_in_a_batch(model: AdaptedModel) -> None:
    batch, alone = toy_batch(), toy_batch()
    for name in ("input_ids", "features", "target_ids"):
        setattr(alone, name, getattr(batch, name)[:1])
    both = model.generate(batch, 5, 9)
    (single,) = model.generate(alone, 5, 9)
    assert both[0][: len(single)] == single


def test_a_choice_is_read_at_the_first_token_of_the_answer(model: AdaptedModel) -> None:
    batch = toy_batch(images=2)
    position = len(model.backbone.answer_prefix) - 1
    batch.target_ids = torch.tensor([[0, 7], [0, 9]])
    with torch.no_grad():
        logits = model(batch)[:, position, [5, 9]]
    torch.testing.assert_close(model.choice_logits(batch, [5, 9]), logits)


@torch.no_grad()
def test_a_copied_model_has_a_ladder_of_its_own(model: AdaptedModel) -> None:
    batch = toy_batch()
    before, answers = model(batch), model.generate(batch, 5, 6)
    copied = deepcopy(model)
    assert torch.equal(copied(batch), before)
    for parameter in copied.technique.parameters():
        parameter.zero_()
    assert not torch.equal(copied(batch), before)
    assert torch.equal(model(batch), before)
    assert model.generate(batch, 5, 6) == answers


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
        ("bart", 3, "leaves a hidden size of 10, which encoder_attention_heads=4 does not divide"),
        ("bart", 16, "leaves a hidden size of 2, which encoder_attention_heads=4 does not divide"),
        ("t5", 16, "params.reduction=16 leaves nothing of d_kv, 8"),
    ],
)
def test_widths_that_do_not_divide_are_refused(kind: str, reduction: int, fault: str) -> None:
    for backbone in (toy_backbone(kind), toy_backbone(kind, meta=True)):
        with pytest.raises(UsageError, match=fault):
            adapted(backbone, reduction=reduction)


def test_norms_that_could_not_train_are_refused() -> None:
    card = MethodCard(name="mine", title="Mine", technique="lst")
    with pytest.raises(UsageError, match=r"train\.norms: .* Set train\.norms=false"):
        adapt(toy_backbone("t5"), card, TASKS)


@pytest.mark.parametrize("other", ["adapter", "compacter", "bitfit", "full"])
def test_nothing_composes_with_it(other: str) -> None:
    card = MethodCard(name="mine", title="Mine", technique=f"lst+{other}", train={"norms": False})
    with pytest.raises(UsageError, match=f"'lst' and '{other}' cannot be composed"):
        adapt(toy_backbone("bart"), card, TASKS)


def test_position_biases_of_the_side_network_are_spared_weight_decay() -> None:
    t5, bart = adapted("t5"), adapted("bart")
    names = {p: name for name, p in t5.named_parameters()}
    assert [names[p] for p in t5.technique.undecayed()] == [
        f"technique.{side}.stack.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        for side in SIDES
    ]
    assert bart.technique.undecayed() == []


def test_as_many_parameters_as_the_authors_measured() -> None:
    card = resolve_method(load_method("lst"), "clip-t5", "image-text")
    counts = count(adapt(build_backbone("clip-t5", meta=True), card, TASKS))
    assert (counts.trainable, counts.total) == (17_967_384, 240_926_232)


READ = "initialising from training examples, one by one: 1"


def spec(bench: Bench, **params: Any) -> RunSpec:
    settings = [f"params.{name}={value}" for name, value in params.items()]
    return bench.spec(
        method="lst",
        settings=("train.epochs=2", "train.batch_size=30", "train.dropout=0.1", *settings),
    )


def test_a_resumed_run_keeps_its_initialisation_and_ends_as_the_whole_one(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[Backbone] = []
    start, on_epoch = LST.start, Callbacks.on_epoch

    def note(self: LST, backbone: Backbone, batches: Any) -> None:
        starts.append(backbone)
        start(self, backbone, batches)

    def stop(self: Callbacks, epoch: int) -> None:
        on_epoch(self, epoch)
        raise KeyboardInterrupt

    monkeypatch.setattr(LST, "start", note)
    whole = do(spec(bench, samples=8), tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Callbacks, "on_epoch", stop)
        resumed = do(spec(bench, samples=8), tmp_path / "resumed", code=130)
    assert len(starts) == 2
    do(spec(bench, samples=8), tmp_path / "resumed")
    assert len(starts) == 2
    assert rows(resumed) == rows(whole)
    assert predictions(resumed) == predictions(whole)
    assert resumed.adapter.read_bytes() == whole.adapter.read_bytes()
    assert whole.log.read_text().count(READ) == 1


def test_a_run_with_too_few_examples_uses_all_and_says_so(bench: Bench, tmp_path: Path) -> None:
    folder = do(spec(bench, samples=100_000), tmp_path)
    log = folder.log.read_text()
    assert READ in log
    examples = sum(len(load_reader(task, bench.root).read("train")) for task in ("vqav2", "nlvr2"))
    assert f"initialising from all {examples:,} training examples: there are no more" in log


def test_a_random_initialisation_reads_no_examples(bench: Bench, tmp_path: Path) -> None:
    folder = do(spec(bench, initialisation="random"), tmp_path)
    assert READ not in folder.log.read_text()
