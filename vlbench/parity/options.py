"""The authors' command line: every option that a recorded model may have been made with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vlbench.errors import DataError

Options = dict[str, Any]

NEUTRAL = frozenset(
    {
        *("adam_beta1", "adam_beta2", "adam_eps", "backbone", "batch_size", "clip_grad_norm"),
        *("distributed", "dropout", "epochs", "feat_dim", "feature", "feature_type", "fp16"),
        *("gen_max_length", "gradient_accumulation_steps", "image_size", "load", "local_rank"),
        *("load_side_pretrained_weights", "lr", "max_n_boxes", "max_text_length", "multiGPU"),
        *("multitask_sampling", "num_beams", "num_workers", "optim", "output", "run_name"),
        *("samples_for_fisher", "seed", "tasks", "testing", "tokenizer", "use_tasks_prompts"),
        *("valid_batch_size", "warmup_ratio", "weight_decay"),
    }
)
"""Options of training, of data and of files: the same weights compute the same with any value."""
FIXED: Options = {
    "add_adapter_cross_attn": True,
    "add_layer_norm_after_adapter": False,
    "add_layer_norm_before_adapter": False,
    "additional_visual_embedding_layers": 0,
    "decoder_prompt_len": 0,
    "decoder_side_layers": None,
    "encoder_side_layers": None,
    "individual_vis_layer_norm": True,
    "pos_dim": 4,
    "share_vis_lang_layer_norm": False,
    "shared_phm_rule_over_tasks": False,
    "track_z": False,
    "use_lm_head_adapter": False,
    "use_vis_layer_norm": True,
    "use_vis_order_embedding": True,
    "use_vision": True,
}
"""Their defaults, which every script keeps and vlbench builds; no other value is known here."""
DEFAULTS: Options = {
    "adapter_down_dim": 96,
    "adapter_gating_down_dim": 96,
    "decoder_enc_attn_value_parallel_adapter_down_dim": 96,
    "downsample": False,
    "efficient_unique_hyper_net": False,
    "encoder_adapter_multihead_num_head": 1,
    "encoder_gating_scaling_factor": 1.0,
    "encoder_prompt_len": 0,
    "factorized_phm": True,
    "hypercomplex_division": 4,
    "hyperformer_task_embedding_dim": 512,
    "hyperformer_task_hidden_dim": 128,
    "lora_alpha": 32,
    "lora_dim": 4,
    "low_rank_rank": 1,
    "mid_dim": 768,
    "n_boxes": 36,
    "no_decoder_adapter": False,
    "no_encoder_adapter": False,
    "phm_init_range": 0.01,
    "phm_rank": 1,
    "projected_task_embedding_dim": 64,
    "prompt_input_dim": 768,
    "reduction_factor": 16,
    "share_down_sampler": False,
    "share_up_sampler": False,
    "shared_phm_rule": True,
    "side_reduction_factor": 8,
    "unfreeze_bias": False,
    "unfreeze_encoder_layer_norms": False,
    "unfreeze_language_model": False,
    "unfreeze_layer_norms": False,
    "unique_hyper_net": False,
    "use_adapter": False,
    "use_adapter_down_dim": False,
    "use_bitfit": False,
    "use_compacter": False,
    "use_decoder_enc_attn_value_parallel_adapter_down_dim": False,
    "use_decoder_enc_vpa_up_zero_init": False,
    "use_encoder_adapter_down_multihead": False,
    "use_encoder_adapter_gating_large_x_lowrank": False,
    "use_encoder_adapter_gating_middle_ia3_add": False,
    "use_encoder_adapter_gating_middle_xy_add": False,
    "use_encoder_adapter_gating_small_xy_cat": False,
    "use_encoder_gating_large_x_lowrank_up_zero_init": False,
    "use_encoder_gating_middle_ia3_zero_init": False,
    "use_encoder_gating_middle_up_zero_init": False,
    "use_encoder_gating_scaling": False,
    "use_encoder_gating_small_up_zero_init": False,
    "use_encoder_multihead_up_zero_init": False,
    "use_hyperformer": False,
    "use_lora": False,
    "use_lradapter": False,
    "use_side_transformers": False,
    "use_single_adapter": False,
    "use_single_lora": False,
    "use_single_prompt": False,
}
"""Options that decide what is built, and class constants that a golden may shrink, with the values
they have where nothing is said (src/param.py of VL-Adapter, Ladder-Side-Tuning and VL-PET)."""


def read_options(argv: Sequence[str]) -> Options:
    """`--name value` and `--name` as a table; of two equal names the last holds."""
    found: Options = {}
    name = ""
    for word in argv:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            found[name] = _value(value) if equals else True
        elif name and found[name] is True:
            found[name] = _value(word)
        else:
            raise DataError(f"not an option of the authors' command line: '{word}'")
    return found


def completed(given: Mapping[str, Any]) -> Options:
    """The options with their defaults; DataError for what is not known to build."""
    for name, value in given.items():
        if name in FIXED and value != FIXED[name]:
            raise DataError(f"option --{name} {value}: only {FIXED[name]} is known here")
        is_known = name in FIXED or name in NEUTRAL or name in DEFAULTS
        if not is_known and value not in (False, None):
            raise DataError(f"unknown option --{name} {value}")
    options = DEFAULTS | {name: value for name, value in given.items() if name in DEFAULTS}
    if options["projected_task_embedding_dim"] == -1:
        options["projected_task_embedding_dim"] = DEFAULTS["projected_task_embedding_dim"]
    return options


def _value(word: str) -> str | int | float | bool:
    words = {"true": True, "false": False}
    if word.lower() in words:
        return words[word.lower()]
    for number in (int, float):
        try:
            return number(word)
        except ValueError:
            continue
    return word
