"""What a card for the peft library may say, and what it hears when it says something else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.techniques.toys import TASKS, toy_backbone
from vlbench.cards.checking import check
from vlbench.cards.load import load_method, resolve_method
from vlbench.cards.schema import MethodCard
from vlbench.errors import CardError, MissingError, UsageError
from vlbench.techniques.adapt import adapt
from vlbench.techniques.peft import BEYOND, PeftParams, config_classes, fields, reason


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
        "import vlbench.running.execute\n"
        "card = MethodCard(name='test', title='Test', technique='adapter+prompt',\n"
        "                  params={'prompt': {'length': 2, 'hidden': 4}})\n"
        "model = adapt(toy_backbone('bart'), card, ('one',)).eval()\n"
        "model.generate(toy_batch(), 2, 5)\n"
        "assert 'peft' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=project, timeout=120, check=True)
