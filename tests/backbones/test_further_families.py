"""Models that the code was not built on: they work as the others do, or are refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.backbones import test_chat, test_chat_methods, test_chat_parts
from tests.backbones.families import BY_NAME, batch_of, fresh, load, rows_of, write_family
from tests.backbones.further_families import FURTHER, StandIn
from tests.techniques.models import card
from vlbench.backbones import chat_source
from vlbench.backbones.base import SUBLAYERS
from vlbench.errors import MissingError, UsageError
from vlbench.techniques.adapt import adapt

REFUSED = {
    "mllama": "not read amid the text, with which cross_attention_mask grows",
    "mistral3": "PixtralProcessor requires the Torchvision library",
    "lfm2_vl": "its image processor needs torchvision",
}
NO_ATTENTION = "layer 0 of the decoder: not one attention with separate q_proj, k_proj, v_proj"
WITHOUT_SITES = {
    **dict.fromkeys(("qwen3_5", "lfm2_vl"), NO_ATTENTION),
    "glm4v_moe": "layer 1 of the decoder: .*: a mixture of experts",
}
WITH_SITES = ("aya_vision", "idefics3", "glm4v", "ovis2", "mistral3")
TRUE_OF_ALL = (
    test_chat.test_the_loss_is_the_library_s_own_and_padding_changes_nothing,
    test_chat.test_no_answer_token_sees_a_later_one_and_all_see_the_picture,
    test_chat.test_answers_and_choices_are_those_of_a_row_alone,
    test_chat.test_prompts_are_read_alike_in_any_batch_and_learn,
)
TRUE_OF_SITES = (
    test_chat.test_checkpointing_computes_the_same_gradients_and_leaves_the_tower_alone,
    test_chat_parts.test_meta_models_have_the_same_sites,
    test_chat_parts.test_a_layer_adds_what_its_sites_put_out,
)
learn = test_chat_methods.test_what_trains_learns_and_the_rest_stays_bit_equal


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `load` and `fresh` know these families."""
    for family in FURTHER:
        monkeypatch.setitem(BY_NAME, family.name, family)


def marked(first: str, *others: str) -> list[Any]:
    """The names, all but the first slow."""
    return [first, *(pytest.param(name, marks=pytest.mark.slow) for name in others)]


@pytest.mark.parametrize("name", marked(*WITH_SITES, *WITHOUT_SITES))
def test_it_works_as_others_do(name: str, monkeypatch: Any, tmp_path: Path) -> None:
    if name in REFUSED:
        monkeypatch.setattr(chat_source, "load_processor", StandIn)
    backbone = load(name)
    for is_true in (*TRUE_OF_ALL, *(TRUE_OF_SITES if name in WITH_SITES else ())):
        is_true(name)
    for method in ("adapter", "lora") if name in WITH_SITES else ("frozen", "peft-dora"):
        learn((name, method), batch_of(backbone, rows_of(backbone)), tmp_path)
    if refusal := WITHOUT_SITES.get(name):
        with pytest.raises(UsageError, match=f"'{name}', {refusal}.* Methods without sites work"):
            adapt(fresh(name), card(technique="adapter"), ("one",))


def test_sub_layers_side_by_side_both_read_the_residual_stream() -> None:
    norms = [layer.input_layernorm for layer in load("aya_vision").layers("decoder")]
    for site in load("aya_vision").sites():
        assert site.kind not in SUBLAYERS or site.entry is norms[site.layer]


@pytest.mark.parametrize("name", marked(*REFUSED))
@pytest.mark.parametrize("meta", [False, True])
def test_what_cannot_be_read_is_refused_in_words(name: str, meta: bool, tmp_path: Path) -> None:
    with pytest.raises((MissingError, UsageError), match=f"'{name}' .*{REFUSED[name]}"):
        chat_source.chat_backbone(write_family(BY_NAME[name], tmp_path), None, meta)
