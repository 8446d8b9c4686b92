"""What is known of an attached technique before it trains."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.techniques.toys import TASKS, toy_backbone
from vlbench.backbones.base import Backbone
from vlbench.cards import load_method, resolve_method
from vlbench.cards.files import own_cards
from vlbench.cards.schema import MethodCard
from vlbench.errors import UsageError
from vlbench.techniques.adapt import AdaptedModel, adapt, check_reached
from vlbench.techniques.base import Technique

KINDS = {"bart": "mini-bart", "t5": "clip-t5"}


def adapted(kind: str, technique: str, meta: bool = False, **table: Any) -> AdaptedModel:
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
    model = adapted(kind, "peft", meta, params=params, train={"norms": False})
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
    return adapted("bart", f"{__name__}:{technique.__name__}", meta)


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
