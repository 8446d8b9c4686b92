"""From the authors' command line to a method card of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tools.parity.facts import ModelFacts
from vlbench.cards.schema import MethodCard, Sharing, TrainSettings
from vlbench.errors import DataError
from vlbench.techniques import JOINED_BY

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
    "phm_init_range": 0.01,
    "phm_rank": 1,
    "projected_task_embedding_dim": 64,
    "prompt_input_dim": 768,
    "reduction_factor": 16,
    "shared_phm_rule": True,
    "side_reduction_factor": 8,
} | dict.fromkeys(
    (
        *("downsample", "efficient_unique_hyper_net", "no_decoder_adapter"),
        *("no_encoder_adapter", "share_down_sampler", "share_up_sampler", "unfreeze_bias"),
        *("unfreeze_encoder_layer_norms", "unfreeze_language_model", "unfreeze_layer_norms"),
        *("unique_hyper_net", "use_adapter", "use_adapter_down_dim", "use_bitfit"),
        *("use_compacter", "use_decoder_enc_attn_value_parallel_adapter_down_dim"),
        *("use_decoder_enc_vpa_up_zero_init", "use_encoder_adapter_down_multihead"),
        "use_encoder_adapter_gating_large_x_lowrank",
        "use_encoder_adapter_gating_middle_ia3_add",
        "use_encoder_adapter_gating_middle_xy_add",
        "use_encoder_adapter_gating_small_xy_cat",
        "use_encoder_gating_large_x_lowrank_up_zero_init",
        *("use_encoder_gating_middle_ia3_zero_init", "use_encoder_gating_middle_up_zero_init"),
        *("use_encoder_gating_scaling", "use_encoder_gating_small_up_zero_init"),
        *("use_encoder_multihead_up_zero_init", "use_hyperformer", "use_lora", "use_lradapter"),
        *("use_side_transformers", "use_single_adapter", "use_single_lora"),
        "use_single_prompt",
    ),
    False,
)
"""Options that decide what is built, and class constants that a golden may shrink, with the values
they have where nothing is said (src/param.py of VL-Adapter, Ladder-Side-Tuning and VL-PET)."""


def read_options(argv: Sequence[str]) -> Options:
    """`--name value` and `--name` as a table; of two equal names the last holds."""
    options: Options = {}
    name = ""
    for word in argv:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            options[name] = _value(value) if equals else True
        elif name and options[name] is True:
            options[name] = _value(word)
        else:
            raise DataError(f"not an option of the authors' command line: '{word}'")
    return options


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


class Flag(NamedTuple):
    """What one of their switches builds."""

    technique: str
    params: dict[str, str] = {}
    """Our parameter -> their option."""
    fixed: dict[str, Any] = {}
    """Our parameter -> its value wherever the switch is on."""
    single: str = ""
    """Their switch for one set of weights for all tasks; without it each task has its own.
    Empty: there is one set always."""
    needs: tuple[str, ...] = ()
    """Switches that are on in all their scripts with this one; without them it is not known."""


WIDTH = {"reduction": "reduction_factor"}
VL_PET = {
    "width": "adapter_down_dim",
    "gate_width": "adapter_gating_down_dim",
    "heads": "encoder_adapter_multihead_num_head",
    "value_width": "decoder_enc_attn_value_parallel_adapter_down_dim",
    "zero_initialised": "use_encoder_multihead_up_zero_init",
}
VL_PET_NEEDS = (
    "use_adapter",
    "use_single_adapter",
    "no_encoder_adapter",
    "use_adapter_down_dim",
    "use_encoder_adapter_down_multihead",
    "no_decoder_adapter",
    "use_decoder_enc_attn_value_parallel_adapter_down_dim",
)
FLAGS: dict[str, Flag] = {
    "unfreeze_language_model": Flag("full"),
    "use_adapter": Flag("adapter", WIDTH, single="use_single_adapter"),
    "use_compacter": Flag(
        "compacter",
        {
            **WIDTH,
            "division": "hypercomplex_division",
            "shared_rule": "shared_phm_rule",
            "factorized": "factorized_phm",
            "rank": "phm_rank",
            "init_range": "phm_init_range",
        },
        single="use_single_adapter",
    ),
    "use_lradapter": Flag(
        "low_rank_adapter", {**WIDTH, "rank": "low_rank_rank"}, single="use_single_adapter"
    ),
    "use_hyperformer": Flag(
        "hyperformer",
        {
            **WIDTH,
            "dim": "projected_task_embedding_dim",
            "task_dim": "hyperformer_task_embedding_dim",
            "hidden": "hyperformer_task_hidden_dim",
            "one_hypernetwork": "efficient_unique_hyper_net",
        },
    ),
    "use_lora": Flag(
        "lora",
        {"rank": "lora_dim", "alpha": "lora_alpha"},
        fixed={"biases": True},
        single="use_single_lora",
    ),
    "encoder_prompt_len": Flag(
        "prompt", {"length": "encoder_prompt_len", "hidden": "mid_dim"}, single="use_single_prompt"
    ),
    "unfreeze_bias": Flag("bitfit"),
    "use_bitfit": Flag("bitfit", fixed={"missing": True}),
    "use_side_transformers": Flag("lst", {"reduction": "side_reduction_factor"}),
    **{
        switch: Flag("vl_pet", VL_PET, {"granularity": granularity}, needs=VL_PET_NEEDS)
        for switch, granularity in (
            ("use_encoder_adapter_gating_large_x_lowrank", "large"),
            ("use_encoder_adapter_gating_middle_xy_add", "middle-x"),
            ("use_encoder_adapter_gating_middle_ia3_add", "middle-y"),
            ("use_encoder_adapter_gating_small_xy_cat", "small"),
        )
    },
}
"""Their switches; several at once are a composition."""
PARTS = {"no_encoder_adapter", "no_decoder_adapter", "use_encoder_adapter_down_multihead"}
"""Switches that have a meaning only with a switch of FLAGS that needs them."""


def options_of(facts: ModelFacts) -> Options:
    """The options a recorded model was made with, shrunk constants among them."""
    given = read_options(facts.argv + facts.extra_args) if facts.args is None else facts.args
    return completed({**given, **facts.reduced_constants})


def method_card(facts: ModelFacts, options: Options) -> MethodCard:
    """Our card of that model; DataError for options that are none of our techniques."""
    flags = {name: flag for name, flag in FLAGS.items() if options[name]}
    if any(flag.technique == "vl_pet" for flag in flags.values()):
        flags.pop("use_adapter", None)  # there it only says that there are adapters somewhere
    _refuse_unknown(facts, flags, options)
    parts = {flag.technique: _params(flag, options) for flag in flags.values()}
    if len(parts) < len(flags):
        raise DataError(f"options that exclude each other: --{' --'.join(flags)}")
    sharings = {_sharing(flag, options) for flag in flags.values()} or {"all"}
    if len(sharings) > 1:
        raise DataError(f"--{' --'.join(flags)} share with tasks differently: not one composition")
    technique = JOINED_BY.join(parts) or "frozen"
    return MethodCard(
        name=facts.method,
        title=facts.method,
        technique=technique,
        sharing=sharings.pop(),
        params=parts if len(parts) > 1 else parts.get(technique, {}),
        train=TrainSettings(norms=_norms(facts, options)),
    )


def _refuse_unknown(facts: ModelFacts, flags: Mapping[str, Flag], options: Options) -> None:
    if not options["downsample"]:
        raise DataError("without --downsample: not known here")
    needed = {name for flag in flags.values() for name in flag.needs}
    missing = sorted(name for name in needed if not options[name])
    stray = sorted(name for name in PARTS - needed if options[name])
    if missing or stray:
        words = [f"without --{name}" for name in missing] + [f"with --{name}" for name in stray]
        raise DataError(f"--{' --'.join(flags)} {', '.join(words)}: not known here")
    if options["use_hyperformer"] and not (
        options["unique_hyper_net"] or options["efficient_unique_hyper_net"]
    ):
        raise DataError(
            "--use_hyperformer without --unique_hyper_net or --efficient_unique_hyper_net: "
            "not known here"
        )
    if options["unfreeze_bias"] and facts.backbone != "bart":
        raise DataError(f"--unfreeze_bias on {facts.backbone}: not known here")
    width = facts.sizes.get("d_model")
    if options["encoder_prompt_len"] and options["prompt_input_dim"] != width:
        raise DataError(f"prompts of width {options['prompt_input_dim']} in a model of {width}")


def _params(flag: Flag, options: Options) -> dict[str, Any]:
    params = {ours: options[theirs] for ours, theirs in flag.params.items()} | flag.fixed
    if flag.technique == "vl_pet":
        is_scaled = options["use_encoder_gating_scaling"]
        params["scale"] = options["encoder_gating_scaling_factor"] if is_scaled else 1.0
    return params


def _sharing(flag: Flag, options: Options) -> Sharing:
    if not flag.single or options[flag.single]:
        return "all"
    if flag.single == "use_single_adapter":
        if options["share_up_sampler"]:
            return "up"
        if options["share_down_sampler"]:
            return "down"
    return "task"


def _norms(facts: ModelFacts, options: Options) -> bool:
    """Whether the backbone's norms train; on T5 their switch for all norms has no effect."""
    of_all = options["unfreeze_layer_norms"] and facts.backbone == "bart"
    return bool(of_all or options["unfreeze_encoder_layer_norms"])
