"""From the authors' command lines to our cards."""

from __future__ import annotations

from typing import Any

import pytest

from tools.parity.facts import ModelFacts
from tools.parity.options import method_card, options_of, read_options
from vlbench.cards.schema import MethodCard
from vlbench.errors import DataError

COMMON = "--distributed --lr 1e-3 --tasks vqa,gqa --feature RN101 --n_boxes 36 --downsample"
VL_PET = (
    "--use_adapter --use_single_adapter --no_encoder_adapter --use_adapter_down_dim "
    "--use_encoder_adapter_down_multihead --adapter_down_dim 96 "
    "--encoder_adapter_multihead_num_head 4 --unfreeze_encoder_layer_norms --no_decoder_adapter "
    "--use_decoder_enc_attn_value_parallel_adapter_down_dim "
    "--decoder_enc_attn_value_parallel_adapter_down_dim 48"
)
T5_VL_PET = (
    "--use_encoder_multihead_up_zero_init --use_encoder_gating_scaling "
    "--encoder_gating_scaling_factor 0.3 --use_decoder_enc_vpa_up_zero_init"
)


def card(words: str, backbone: str = "bart", extra: str = "", **constants: Any) -> MethodCard:
    facts = ModelFacts.model_validate(
        {
            "method": "mine",
            "backbone": backbone,
            "model_config": {"d_model": 768},
            "argv": f"{COMMON} {words}".split(),
            "extra_args": extra.split(),
            "reduced_constants": constants,
            "trainable": [],
            "aliases": {},
            "tasks": {"vqa": {"loss": 1, "grad_norm": {}}},
        }
    )
    return method_card(facts, options_of(facts))


def told(made: MethodCard) -> tuple[str, str, dict[str, Any]]:
    return made.technique, made.sharing, made.params


def test_of_two_equal_options_the_last_holds_and_extra_words_come_last() -> None:
    assert read_options(["--a", "1", "--b", "--a", "2e-1", "--c=true"]) == {
        "a": 0.2,
        "b": True,
        "c": True,
    }
    made = card("--use_lora --use_single_lora --lora_dim 150", "t5", extra="--lora_dim 8")
    assert told(made) == ("lora", "all", {"rank": 8, "alpha": 32, "biases": True})


@pytest.mark.parametrize(
    ("words", "technique", "sharing", "params"),
    [
        ("--unfreeze_language_model", "full", "all", {}),
        ("", "frozen", "all", {}),
        ("--use_adapter", "adapter", "task", {"reduction": 16}),
        ("--use_adapter --use_single_adapter", "adapter", "all", {"reduction": 16}),
        ("--use_adapter --share_up_sampler", "adapter", "up", {"reduction": 16}),
        (
            "--use_lradapter --low_rank_rank 2 --reduction_factor 8",
            *("low_rank_adapter", "task", {"reduction": 8, "rank": 2}),
        ),
        (
            "--encoder_prompt_len 40 --mid_dim 800 --use_single_prompt",
            *("prompt", "all", {"length": 40, "hidden": 800}),
        ),
        (
            "--use_adapter --encoder_prompt_len 40",
            "adapter+prompt",
            "task",
            {"adapter": {"reduction": 16}, "prompt": {"length": 40, "hidden": 768}},
        ),
        ("--unfreeze_bias", "bitfit", "all", {}),
        ("--use_side_transformers --side_reduction_factor 4", "lst", "all", {"reduction": 4}),
    ],
)
def test_switches_name_techniques(
    words: str, technique: str, sharing: str, params: dict[str, Any]
) -> None:
    assert told(card(words)) == (technique, sharing, params)


def test_constants_that_were_shrunk_count() -> None:
    words = "--use_hyperformer --unique_hyper_net --projected_task_embedding_dim 8"
    sizes = {"hyperformer_task_embedding_dim": 16, "hyperformer_task_hidden_dim": 12}
    params = {"reduction": 16, "dim": 8, "task_dim": 16, "hidden": 12, "one_hypernetwork": False}
    assert told(card(words, **sizes)) == ("hyperformer", "all", params)
    one = card("--use_hyperformer --efficient_unique_hyper_net")
    assert one.params == {
        "reduction": 16, "dim": 64, "task_dim": 512, "hidden": 128, "one_hypernetwork": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("gate", "granularity"),
    [
        ("--use_encoder_adapter_gating_large_x_lowrank", "large"),
        ("--use_encoder_adapter_gating_middle_xy_add", "middle-x"),
        ("--use_encoder_adapter_gating_middle_ia3_add", "middle-y"),
        ("--use_encoder_adapter_gating_small_xy_cat", "small"),
    ],
)
def test_gates_name_the_granularity(gate: str, granularity: str) -> None:
    params = {"width": 96, "gate_width": 96, "heads": 4, "value_width": 48, "scale": 1.0}
    params |= {"granularity": granularity, "zero_initialised": False}
    made = card(f"{VL_PET} {gate}")
    assert told(made) == ("vl_pet", "all", params)
    assert made.train.norms
    on_t5 = card(f"{VL_PET} {gate} {T5_VL_PET}", "t5")
    assert on_t5.params == params | {"scale": 0.3, "zero_initialised": True}
    assert on_t5.train.norms


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--use_magic", "unknown option --use_magic"),
        ("--use_adapter --use_single_adapter --encoder_prompt_len 4", "differently"),
        ("--use_bitfit --unfreeze_bias", "exclude each other"),
        ("--use_encoder_adapter_gating_small_xy_cat --use_adapter", "without --no_decoder_adapter"),
        ("--encoder_prompt_len 4 --use_single_prompt", "width 32 in a model of 768"),
    ],
)
def test_what_is_not_known_is_told_and_not_guessed(words: str, text: str) -> None:
    with pytest.raises(DataError, match=text):
        card(words, prompt_input_dim=32 if "width" in text else 768)
