"""Every tuner of the peft library on a toy BART and a toy T5, and the published DoRA counts."""

from __future__ import annotations

import copy
import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import nn

from tests.techniques.models import train
from tests.techniques.toys import TASKS, toy_backbone, toy_batch
from vlbench.backbones import build_backbone
from vlbench.cards.checking import check
from vlbench.cards.load import load_method, resolve_method
from vlbench.cards.schema import MethodCard
from vlbench.errors import CardError, MissingError, UsageError
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
    config_classes,
    fields,
    reason,
    translate,
    words,
)
from vlbench.tensors import unique_state

CLASSES = {each.__name__: each for each in PEFT_TYPE_TO_CONFIG_MAPPING.values()}
SMALL: dict[str, dict[str, Any]] = {
    "C3AConfig": {"block_size": 8},
    "IA3Config": {"feedforward_modules": []},
    "LNTuningConfig": {"target_modules": ["norms"]},
    "MissConfig": {"r": 4},
    "RoadConfig": {"group_size": 8},
    "ShiraConfig": {"r": 2},
    "TrainableTokensConfig": {
        "target_modules": "shared|model.encoder.embed_tokens",
        "token_indices": [7, 8],
    },
    "VBLoRAConfig": {"vector_length": 8, "num_vectors": 16},
    "WaveFTConfig": {"n_frequency": 20},
}
"""What a toy is too small for by peft's defaults."""
REFUSED = {
    "AdamssConfig": "scikit-learn is required",  # which we do not install
    "AdaptionPromptConfig": "no layers to inject",
    "CPTConfig": "only supports task_type",
    "CartridgeConfig": "no layers to inject",
    "MultitaskPromptTuningConfig": "no layers to inject",
    "PolyConfig": "task_ids should not be None",
    "PrefixTuningConfig": "no layers to inject",
    "PromptEncoderConfig": "no layers to inject",
    "PromptTuningConfig": "no layers to inject",
    "ShadowConfig": "works around the model",
    "XLoraConfig": "hidden_size",
}


def card(config: str, **params: Any) -> MethodCard:
    return MethodCard(
        name="test",
        title="Test",
        technique="peft",
        params={"config": config, **params},
        train={"norms": False},
    )


def small_card(config: str) -> MethodCard:
    names = {field.name for field in dataclasses.fields(CLASSES[config])}
    targets = {"target_modules": ["query", "value"]} if "target_modules" in names else {}
    if "num_virtual_tokens" in names:
        targets = {"num_virtual_tokens": 4}
    if config == "AdaptionPromptConfig":
        targets = {"adapter_len": 4, "adapter_layers": 1}
    return card(config, **{**targets, **SMALL.get(config, {})})


def adapted(kind: str, method: MethodCard, seed: int = 0, meta: bool = False) -> AdaptedModel:
    backbone = toy_backbone(kind, meta=meta)
    torch.manual_seed(seed)
    return adapt(backbone, method, TASKS)


def outputs(model: AdaptedModel) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(toy_batch())


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
@pytest.mark.parametrize("kind", ["bart", "t5"])
@pytest.mark.parametrize("config", CLASSES)
def test_each_tuner_trains_and_reloads_or_is_refused_in_the_plan(
    config: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))  # BOFT looks for a CUDA kernel there
    method = small_card(config)
    if config in REFUSED:
        with pytest.raises((UsageError, MissingError), match=REFUSED[config]):
            adapted(kind, method, meta=True)
        return
    planned, model = adapted(kind, method, meta=True), adapted(kind, method)
    assert all(p.is_meta for p in planned.parameters())
    assert count(planned) == count(model)

    added, visual = set(model.technique.parameters()), set(model.backbone.visual.parameters())
    trained = trained_parameters(model)
    assert visual < set(trained.values()) <= visual | added
    frozen, before = frozen_checksum(model), {name: p.clone() for name, p in trained.items()}
    losses = train(model.eval(), 2)
    assert all(torch.tensor(losses).isfinite())
    assert frozen_checksum(model) == frozen
    moved = {name for name, p in trained.items() if not torch.equal(p, before[name])}
    assert any(trained[name] in visual for name in moved)
    assert any(trained[name] in added for name in moved)

    again = adapted(kind, method, seed=1)
    load_trained_state(again, trained_state(model), "adapter")
    assert torch.equal(outputs(again), outputs(model))
    assert model.generate(toy_batch(), 2, 5)
    assert [s.name for s in model.backbone.sites()] == [s.name for s in toy_backbone(kind).sites()]


def test_the_list_of_refusals_names_classes_there_are() -> None:
    assert REFUSED.keys() | SMALL.keys() <= CLASSES.keys()


@pytest.mark.parametrize(
    ("suite", "trainable", "total"),
    [("image-text", 8_838_912, 148_262_400), ("video-text", 7_634_688, 147_082_752)],
)
def test_dora_has_the_published_share_of_parameters(suite: str, trainable: int, total: int) -> None:
    visual = {"image-text": "image", "video-text": "video"}[suite]
    method = resolve_method(load_method("peft-dora"), "clip-bart", suite)
    counts = count(adapt(build_backbone("clip-bart", meta=True, visual=visual), method, TASKS))
    assert (counts.trainable, counts.total) == (trainable, total)
    assert round(counts.percent, 2) == {"image-text": 5.96, "video-text": 5.19}[suite]


@pytest.mark.parametrize(
    ("backbone", "trainable", "total"),
    [("clip-bart", 8_786_688, 148_234_752), ("clip-t5", 18_170_112, 241_128_960)],
)
def test_lora_with_biases_has_the_count_of_shared_lora(
    backbone: str, trainable: int, total: int
) -> None:
    sets = ["params.bias=all"]
    method = resolve_method(load_method("peft-lora"), backbone, "image-text", sets)
    counts = count(adapt(build_backbone(backbone, meta=True), method, TASKS))
    assert (counts.trainable, counts.total) == (trainable, total)


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_lora_gives_the_outputs_of_our_lora_with_the_same_factors(kind: str) -> None:
    params = {"rank": 4, "alpha": 6, "biases": False}
    ours = MethodCard(name="lora", title="LoRA", technique="lora", params=params)
    mine = adapted(kind, ours)
    theirs = adapted(kind, card("LoraConfig", target_modules=["query", "value"], r=4, lora_alpha=6))
    untouched = outputs(theirs)
    with torch.no_grad():
        for site in theirs.backbone.sites():
            if site.kind in ("query", "value"):
                update, layer = mine.technique.sites[site.name], site.module
                layer.lora_B["default"].weight.normal_(std=0.3)
                update.down.layers["all"].weight.copy_(layer.lora_A["default"].weight)
                update.up.layers["all"].weight.copy_(layer.lora_B["default"].weight)
        load_visual(mine, theirs)
    assert not torch.allclose(outputs(theirs), untouched, atol=1e-3)
    torch.testing.assert_close(outputs(mine), outputs(theirs), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(precise(mine), precise(theirs), atol=1e-12, rtol=0)


def precise(model: AdaptedModel) -> torch.Tensor:
    """The outputs in double precision, where the order of sums does not show."""
    batch = toy_batch()
    batch.features = batch.features.double()
    with torch.no_grad():
        return model.double().eval()(batch)


def load_visual(model: AdaptedModel, source: AdaptedModel) -> None:
    model.backbone.visual.load_state_dict(source.backbone.visual.state_dict())


def test_vera_is_the_same_whatever_the_runs_seed() -> None:
    method = card("VeraConfig", target_modules=["query"], r=8)
    first, second = adapted("bart", method), adapted("bart", method, seed=1)
    names = [name for name in unique_state(first) if ".vera_A." in name]
    assert names
    assert all(torch.equal(unique_state(first)[n], unique_state(second)[n]) for n in names)


def test_a_card_keeps_pefts_layers_and_the_norms_apart() -> None:
    method = card("LNTuningConfig", target_modules="norms")
    model = adapted("bart", method)
    copies = set(model.technique.parameters())
    assert copies == set(trained_parameters(model).values()) - set(
        model.backbone.visual.parameters()
    )
    wish = method.model_copy(update={"train": method.train.model_copy(update={"norms": True})})
    with pytest.raises(UsageError, match=r"train\.norms: LNTuningConfig trains copies"):
        adapted("bart", wish)


def test_norms_train_beside_lora_when_the_card_says_so() -> None:
    method = card("LoraConfig", target_modules=["query"])
    method = method.model_copy(update={"train": method.train.model_copy(update={"norms": True})})
    model = adapted("t5", method)
    assert all(p.requires_grad for norm in model.backbone.norms() for p in norm.parameters())


def test_a_copy_of_the_model_has_its_own_weights() -> None:
    model = adapted("bart", card("LoraConfig", target_modules=["query"], init_lora_weights=False))
    twin, before = copy.deepcopy(model), outputs(model)
    for parameter in trained_parameters(twin).values():
        parameter.data.zero_()
    assert torch.equal(outputs(model), before)
    assert not torch.equal(outputs(twin), before)


def test_weights_are_for_all_tasks() -> None:
    method = card("LoraConfig").model_copy(update={"sharing": "task"})
    with pytest.raises(UsageError, match="Peft cannot share 'task'"):
        adapted("bart", method)


def composed(other: str, **params: Any) -> MethodCard:
    table = {"config": "LoraConfig", **params}
    return MethodCard(name="both", title="Both", technique=f"peft+{other}", params={"peft": table})


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_it_composes_with_what_changes_other_sites(kind: str) -> None:
    model = adapted(kind, composed("adapter", target_modules=["query", "output"]))
    names = " ".join(trained_parameters(model))
    assert "lora_A" in names and "down.layers" in names
    losses = train(model.eval(), 5)
    assert losses[-1] < losses[0]


def test_it_does_not_compose_with_what_changes_the_same_sites() -> None:
    with pytest.raises(UsageError, match="both change decoder_0_cross_attention_query"):
        adapted("bart", composed("lora", target_modules=["query"]))
    with pytest.raises(UsageError, match="both change"):
        adapted("bart", composed("lora"))  # where peft chooses


def faults(config: str, **params: Any) -> dict[str, str]:
    found = check(PeftParams, {"config": config, **params}, ("params",))[1]
    return {fault.key: fault.text for fault in found}


def test_an_unknown_configuration_gets_the_nearest() -> None:
    assert "Did you mean 'LoraConfig'? Known: AdaLoraConfig" in faults("LoraConf")["params.config"]


def test_every_fault_is_told_at_its_key() -> None:
    found = faults("LoraConfig", lora_alhpa=8, r="8", use_dora=1, bias="some", target_modules=3)
    assert (
        "Unknown parameter 'lora_alhpa'. Did you mean 'lora_alpha'?" in found["params.lora_alhpa"]
    )
    assert found["params.r"] == 'Should be a valid integer, found "8".'
    assert found["params.use_dora"] == "Should be a valid boolean, found 1."
    assert found["params.bias"] == "Should be 'none', 'all' or 'lora_only', found \"some\"."
    assert found["params.target_modules"].startswith("Should be a valid array or a valid string")


def test_what_peft_itself_refuses_is_told_in_its_words() -> None:
    found = faults("IA3Config", target_modules=["key"], feedforward_modules=["value"])
    assert found == {
        "params": "IA3Config: `feedforward_modules` should be a subset of `target_modules`."
    }
    assert "`r` is not used in AdaLora" in faults("AdaLoraConfig", r=4)["params.r"]


@pytest.mark.parametrize("key", BEYOND)
def test_what_takes_more_than_layers_is_refused(key: str) -> None:
    configs = [name for name, each in config_classes().items() if key in each.__annotations__]
    assert configs
    assert "not for layers alone" in faults(configs[0], **{key: True})[f"params.{key}"]


def test_initialisations_that_do_not_work_here_are_refused() -> None:
    found = [faults("LoraConfig", init_lora_weights=each) for each in ("eva", "pissa_niter_4")]
    assert "a pass over data" in found[0]["params.init_lora_weights"]
    assert "at random" in found[1]["params.init_lora_weights"]
    assert not faults("LoraConfig", init_lora_weights="pissa")


def test_a_card_says_nothing_about_saved_files() -> None:
    names = fields(config_classes()["LoraConfig"])
    assert {"r", "use_dora", "target_modules"} <= names.keys()
    assert not {"peft_type", "inference_mode", "task_type", "revision"} & names.keys()


def test_every_configuration_has_fields_of_types_that_can_be_checked() -> None:
    for name, config in config_classes().items():
        for field in fields(config):
            check(PeftParams, {"config": name, field: {"no": ["such", "value"]}})


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"r": 0}, r"params\.r: LoraConfig: `r` should be a positive integer value"),
        ({"lora_dropout": 2.0}, r"LoraConfig: dropout probability has to be between 0 and 1"),
        (
            {"target_modules": "no.*"},
            r"params\.config: LoraConfig: Target modules no\.\* not found",
        ),
        ({"rank_pattern": {"no": 3}}, r"params\.rank_pattern: .* did not match any .*: \['no'\]\."),
        (
            {"target_modules": ["norms"]},
            r"LoraConfig: Target module LayerNorm.* is not supported\.",
        ),
        ({"init_lora_weights": "loftq"}, r"LoraConfig: .*scipy.*not installed"),
    ],
)
def test_what_only_the_backbone_shows_is_told_by_the_plan(
    params: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)  # as where it is not installed
    table = {"config": "LoraConfig", "target_modules": ["query"], **params}
    card = MethodCard(name="test", title="Test", technique="peft", params=table)
    with pytest.raises((UsageError, MissingError), match=text) as caught:
        adapt(toy_backbone("bart", meta=True), card, TASKS)
    assert "\n" not in str(caught.value)


def test_a_reason_is_one_sentence() -> None:
    assert reason(ValueError("One thing\n is wrong. Please do another.")) == "One thing is wrong."
    assert reason(KeyError("x")) == "KeyError: 'x'"
    assert reason(AssertionError()) == "AssertionError"


def test_any_field_can_be_set_from_the_command_line() -> None:
    card = load_method("peft-lora")
    sets = ["params.r=4", "params.use_rslora=true"]
    resolved = resolve_method(card, "mini-bart", "image-text", sets)
    assert resolved.params["r"] == 4 and resolved.params["use_rslora"] is True
    with pytest.raises(UsageError, match=r"--set params\.use_rslroa: Unknown parameter"):
        resolve_method(card, "mini-bart", "image-text", ["params.use_rslroa=true"])


def test_a_card_is_refused_with_its_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    text = 'title = "Mine"\ntechnique = "peft"\n[params]\nconfig = "LoraConfig"\nrank = 4\n'
    file.write_text(text, "utf-8")
    with pytest.raises(CardError, match=r"mine\.toml: params\.rank: Unknown parameter 'rank'"):
        load_method(str(file), check_params=True)


def test_without_the_library_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "peft"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "peft", None)
    load_method("peft-lora")  # reading a card needs no library
    with pytest.raises(MissingError, match=r"pip install 'vlbench\[peft\]'") as caught:
        load_method("peft-lora", check_params=True)
    assert caught.value.exit_code == 3


def test_other_cards_do_not_import_the_library(project: Path) -> None:
    program = (
        "import sys\n"
        "from tests.techniques.toys import toy_backbone, toy_batch\n"
        "from vlbench.cards.schema import MethodCard\n"
        "from vlbench.techniques.adapt import adapt\n"
        "import vlbench.runs.execute\n"
        "card = MethodCard(name='test', title='Test', technique='adapter+prompt',\n"
        "                  params={'prompt': {'length': 2, 'hidden': 4}})\n"
        "model = adapt(toy_backbone('bart'), card, ('one',)).eval()\n"
        "model.generate(toy_batch(), 2, 5)\n"
        "assert 'peft' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=project, timeout=120, check=True)


LEAVES = {
    "bart": {
        "query": {"q_proj"},
        "key": {"k_proj"},
        "value": {"v_proj"},
        "output": {"out_proj"},
        "feed_forward_in": {"fc1"},
        "feed_forward_out": {"fc2"},
    },
    "t5": {
        "query": {"q"},
        "key": {"k"},
        "value": {"v"},
        "output": {"o"},
        "feed_forward_in": {"wi"},
        "feed_forward_out": {"wo"},
    },
}
EACH = pytest.mark.parametrize("kind", LEAVES)


@EACH
def test_words_name_the_linear_layers_of_every_sublayer(kind: str) -> None:
    backbone = toy_backbone(kind)
    found = words(backbone)
    norms = found.pop("norms")
    assert {word: {p.rpartition(".")[2] for p in found[word]} for word in found} == LEAVES[kind]
    for word, paths in found.items():
        assert len(paths) == len(set(paths)) == (4 if word.startswith("feed") else 6)
        assert all(isinstance(backbone.language.get_submodule(path), nn.Linear) for path in paths)
    assert [backbone.language.get_submodule(path) for path in norms] == backbone.norms()


@EACH
def test_words_become_paths_and_names_pass_through(kind: str) -> None:
    backbone = toy_backbone(kind)
    (leaf,) = LEAVES[kind]["key"]
    found = translate(backbone, "target_modules", ["query", leaf])
    assert found == [*words(backbone)["query"], leaf]
    assert translate(backbone, "target_modules", "norms") == words(backbone)["norms"]
    assert translate(backbone, "target_modules", "all-linear") == "all-linear"


def test_a_name_that_fits_no_module_is_refused_with_the_nearest() -> None:
    text = r"params\.target_modules: No module is called 'vlaue'\. Did you mean 'value'\? Known: "
    with pytest.raises(UsageError, match=text) as caught:
        translate(toy_backbone("bart"), "target_modules", ["query", "vlaue"])
    assert "fc1" in str(caught.value) and "feed_forward_in" in str(caught.value)
