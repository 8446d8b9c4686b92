"""What is known of an attached technique before it trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.techniques.models import IMAGE_TASKS, adapted, card
from tests.techniques.toys import TASKS, toy_backbone
from vlbench.backbones import build_backbone
from vlbench.backbones.base import Backbone
from vlbench.cards import find_tasks, load_method
from vlbench.errors import UsageError
from vlbench.techniques import resolve_method
from vlbench.techniques.adapt import (
    AdaptedModel,
    adapt,
    check_reached,
    count,
    frozen_checksum,
    trained_parameters,
)
from vlbench.techniques.base import Technique

KINDS = {"bart": "mini-bart", "t5": "clip-t5"}


def probed(kind: str, technique: str, meta: bool = False, **table: Any) -> AdaptedModel:
    return adapt(toy_backbone(kind, meta=meta), card(technique=technique, **table), TASKS)


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
    resolved = resolve_method(load_method(method), KINDS[kind], "image-text")
    adapt(toy_backbone(kind), resolved, TASKS)
    monkeypatch.setattr(nn.init, "zeros_", nn.init.ones_)
    monkeypatch.setattr(torch, "zeros", torch.ones)
    if (method, kind) != ("bitfit", "bart"):  # which adds nothing there
        with pytest.raises(UsageError, match="says starts_as_identity"):
            adapt(toy_backbone(kind), resolved, TASKS)


def test_a_frozen_tensor_that_moved_changes_the_checksum() -> None:
    model = adapted("bart", technique="adapter")
    before = frozen_checksum(model)
    with torch.no_grad():
        model.technique.sites["encoder_0_feed_forward"].up.layers["all"].bias.add_(1)
    assert frozen_checksum(model) == before
    with torch.no_grad():
        model.backbone.token_embedding[5, 3] += 1e-6
    assert frozen_checksum(model) != before


ROWS = Path(__file__).resolve().parents[3] / "shared" / "reference" / "params_rows.json"


def rows() -> list[Any]:
    if not ROWS.is_file():
        return []
    return json.loads(ROWS.read_text())["rows"]


@pytest.mark.parametrize(
    "row", rows(), ids=lambda r: f"{r['method']}-{r['backbone']}-{r['suite']}-{len(r['set'])}"
)
def test_the_count_is_the_authors(row: dict[str, Any]) -> None:
    settings = [f"{key}={json.dumps(value)}" for key, value in row["set"].items()]
    method = resolve_method(load_method(row["method"]), row["backbone"], row["suite"], settings)
    suite, tasks = find_tasks(row["suite"])
    assert suite == row["suite"]
    backbone = build_backbone(row["backbone"], meta=True, visual=tasks[0].visual)
    counts = count(adapt(backbone, method, [task.name for task in tasks]))
    assert (counts.trainable, counts.total) == (row["trainable"], row["total"])
    assert round(counts.percent, 4) == pytest.approx(row["trainable_percent"], abs=1.01e-4)


FULL_SIZE = [
    ("bart", "image", "lora", "all", {}, 8_786_688, 148_234_752),
    ("bart", "image", "lora", "task", {}, 30_020_352, 169_468_416),
    ("bart", "video", "lora", "all", {}, 7_607_040, 147_055_104),
    ("t5", "image", "lora", "all", {"rank": 150}, 18_170_112, 241_128_960),
    ("bart", "image", "prompt", "task", {}, 6_627_200, 146_201_216),
    ("bart", "image", "prompt", "all", {}, 2_843_936, 142_417_952),
    ("bart", "video", "prompt", "all", {}, 1_664_288, 141_238_304),
    ("t5", "image", "prompt", "all", {}, 2_842_400, 225_801_248),
    ("t5", "video", "prompt", "all", {}, 1_662_752, 224_621_600),
    ("t5", "image", "bitfit", "all", {"missing": True}, 1_865_416, 224_824_264),
    ("bart", "image", "bitfit", "all", {}, 1_708_800, 141_156_864),
    ("bart", "video", "bitfit", "all", {}, 529_152, 139_977_216),
    ("bart", "image", "hyperformer", "all", {}, 8_529_936, 148_103_952),
    ("t5", "image", "hyperformer", "all", {}, 8_534_544, 231_493_392),
    ("bart", "image", "hyperformer", "all", {"one_hypernetwork": True}, 4_659_440, 144_233_456),
    ("bart", "image", "low_rank_adapter", "all", {}, 1_660_608, 141_234_624),
    ("t5", "image", "low_rank_adapter", "all", {}, 1_736_832, 224_695_680),
]
"""Without norms: LST's or VL-Adapter's code, or by the shapes."""


@pytest.mark.parametrize("row", FULL_SIZE)
def test_the_count_at_full_size(row: tuple[Any, ...]) -> None:
    kind, visual, technique, sharing, params, trainable, total = row
    table = {"technique": technique, "sharing": sharing, "params": params}
    whole = build_backbone(f"clip-{kind}", meta=True, visual=visual)
    counts = count(adapt(whole, card(**table, train={"norms": False}), IMAGE_TASKS))
    assert (counts.trainable, counts.total) == (trainable, total)


VL_PET = [
    ("small", "clip-bart", "image-text", 4_291_020, 143_845_068),
    ("middle-x", "clip-bart", "image-text", 4_281_804, 143_835_852),
    ("middle-y", "clip-bart", "image-text", 4_281_792, 143_835_840),
    ("large", "clip-bart", "image-text", 6_052_416, 145_606_464),
    ("small", "clip-bart", "video-text", 3_111_372, 142_665_420),
    ("middle-x", "clip-bart", "video-text", 3_102_156, 142_656_204),
    ("middle-y", "clip-bart", "video-text", 3_102_144, 142_656_192),
    ("large", "clip-bart", "video-text", 4_872_768, 144_426_816),
    ("small", "clip-t5", "image-text", 10_518_168, 233_457_816),
    ("middle-x", "clip-t5", "image-text", 10_499_736, 233_439_384),
    ("middle-y", "clip-t5", "image-text", 10_499_712, 233_439_360),
    ("large", "clip-t5", "image-text", 17_582_208, 240_521_856),
]


@pytest.mark.parametrize("row", VL_PET)
def test_vl_pet_has_as_many_parameters_as_in_its_authors_code(row: tuple[Any, ...]) -> None:
    granularity, backbone, suite, trainable, total = row
    method = resolve_method(load_method(f"vl-pet-{granularity}"), backbone, suite)
    visual: Any = "video" if suite == "video-text" else "image"
    counts = count(adapt(build_backbone(backbone, meta=True, visual=visual), method, IMAGE_TASKS))
    assert (counts.trainable, counts.total) == (trainable, total)


@pytest.mark.parametrize("technique", ["full", "frozen", "adapter"])
def test_the_groups_add_up_to_the_whole(technique: str) -> None:
    model = adapted("bart", technique=technique, train={"norms": False})
    counts, backbone = count(model), model.backbone
    assert counts.total == sum(group.total for group in counts.groups.values())
    assert counts.total == sum(p.numel() for p in model.parameters())
    assert counts.trainable == sum(p.numel() for p in trained_parameters(model).values())
    assert (counts.percent == 100.0) == (technique == "full")
    assert counts.groups["token table"].total == 128 * 32
    norms = {p for norm in backbone.norms() for p in norm.parameters()}
    biases = [p for p in backbone.biases() if p not in norms]
    assert counts.groups["biases"].total == sum(p.numel() for p in biases)


@pytest.mark.parametrize("sharing", ["task", "up", "down"])
@pytest.mark.parametrize("technique", ["hyperformer", "vl_pet", "prompt", "full"])
def test_a_sharing_that_a_technique_does_not_know_is_refused(technique: str, sharing: str) -> None:
    if (technique, sharing) != ("prompt", "task"):
        with pytest.raises(UsageError, match=rf"cannot share '{sharing}'\. Known: all"):
            adapted("bart", technique=technique, sharing=sharing)
