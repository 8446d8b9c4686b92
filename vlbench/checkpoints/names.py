"""What our techniques' tensors are called in the authors' state dicts: a table to append to.

A row is a pattern over our name behind `technique.` and their name as a template; further templates
are other names of the same tensor there. Named groups of the pattern fill the templates; `site`,
`half`, `task` and `head` are special:

- `site` also gives `{module}`, the path of the site's module, `{holder}`, the path of what holds
  that module, and `{adapter}`, their name of an adapter at the site;
- `task` is spelt as they spell it; where ours is `all`, one tensor stands there under every task;
- a template that names what the pattern does not (`{holder}`, `{half}`, `{task}`) stands for all
  sites with adapters, both halves, every task;
- `path` has dashes where theirs has dots;
- `{head}` in the template: the rows of our tensor are theirs of heads 0, 1, ... one after another,
  as many as the technique's parameter `heads` says;
- `{root}` is the path of their encoder-decoder: `model.` for BART, nothing for T5.
"""

from __future__ import annotations

SITE = r"sites\.(?P<site>\w+)"
DOWN_UP = rf"{SITE}\.(?P<half>down|up)\.layers\.(?P<task>\w+)"
SAMPLER = "{holder}.{adapter}.adapters.{task}.{half}_sampler"

VALUES = r"sites\.(?P<site>\w+_value)"
SIDES = r"sides\.(?P<side>encoder|decoder)"
CONTROLLER = "{root}{side}.adapter_layers_hyper_net"
PROMPT = "{root}encoder.prompt_modules.prompts.{task}.prefix_embedding"
VISUAL = "{root}encoder.visual_embedding"

Row = tuple[str, ...]
"""The pattern, then the templates: the first is where a file without repetitions keeps it."""

TASKS = {
    "vqav2": "vqa",
    "gqa": "gqa",
    "nlvr2": "nlvr",
    "coco": "caption",
    "tvqa": "tvqa",
    "how2qa": "how2qa",
    "tvc": "tvc",
    "yc2c": "yc2c",
}
"""Our tasks as they spell them."""

TECHNIQUES: dict[str, tuple[Row, ...]] = {
    "Full": (),
    "Frozen": (),
    "Adapter": ((rf"{DOWN_UP}\.(?P<leaf>weight|bias)", f"{SAMPLER}.{{leaf}}"),),
    "Compacter": (
        (r"rule", "phm_rule", f"{SAMPLER}.phm_rule"),
        (rf"{DOWN_UP}\.rule", f"{SAMPLER}.phm_rule"),
        (rf"{DOWN_UP}\.w", f"{SAMPLER}.W"),
        (rf"{DOWN_UP}\.left", f"{SAMPLER}.W_left"),
        (rf"{DOWN_UP}\.right", f"{SAMPLER}.W_right"),
        (rf"{DOWN_UP}\.b", f"{SAMPLER}.b"),
    ),
    "LowRankAdapter": (
        (rf"{DOWN_UP}\.left", f"{SAMPLER}.W_left"),
        (rf"{DOWN_UP}\.right", f"{SAMPLER}.W_right"),
        (rf"{DOWN_UP}\.b", f"{SAMPLER}.b"),
    ),
    "Hyperformer": (
        (
            r"task_vectors\.(?P<task>\w+)",
            "{root}shared_task_embed.task_to_embeddings.{task}",
            "{root}encoder.task_embed.task_to_embeddings.{task}",
            "{root}decoder.task_embed.task_to_embeddings.{task}",
        ),
        (rf"{SIDES}\.layers\.weight", f"{CONTROLLER}.layer_id_embeddings.weight"),
        (rf"{SIDES}\.types\.weight", f"{CONTROLLER}.adapters_block_type.weight"),
        (
            rf"{SIDES}\.projector\.(?P<rest>.+)",
            f"{CONTROLLER}.task_hypernet.task_embeding_generator.{{rest}}",
        ),
        (rf"{SIDES}\.norm\.(?P<leaf>\w+)", f"{CONTROLLER}.LayerNorm.{{leaf}}"),
        (
            rf"{SIDES}\.(?P<half>down|up)\.any\.(?P<what>\w+)\.(?P<leaf>\w+)",
            f"{CONTROLLER}.{{half}}_sampler_hyper_net.{{what}}_generator.0.{{leaf}}",
        ),
        (
            rf"{SIDES}\.(?P<half>down|up)\.(?P<kind>\w+)\.(?P<what>\w+)\.(?P<leaf>\w+)",
            f"{CONTROLLER}.{{kind}}_{{half}}_sampler_hyper_net.{{what}}_generator.0.{{leaf}}",
        ),
    ),
    "LoRA": (
        (rf"{SITE}\.down\.layers\.(?P<task>\w+)\.weight", "{module}.lora_As.{task}"),
        (rf"{SITE}\.up\.layers\.(?P<task>\w+)\.weight", "{module}.lora_Bs.{task}"),
    ),
    "PromptTuning": (
        (r"prompts\.layers\.(?P<task>\w+)\.embedding\.weight", f"{PROMPT}.0.weight"),
        (r"prompts\.layers\.(?P<task>\w+)\.first\.(?P<leaf>\w+)", f"{PROMPT}.1.{{leaf}}"),
        (r"prompts\.layers\.(?P<task>\w+)\.second\.(?P<leaf>\w+)", f"{PROMPT}.3.{{leaf}}"),
    ),
    "BitFit": (
        (r"added\.visual-feature-1\.bias", f"{VISUAL}.feat_embedding.1.bias"),
        (r"added\.visual-place-1\.bias", f"{VISUAL}.absolute_vis_pos_embedding.1.bias"),
        (r"added\.language-(?P<path>[\w-]+)\.bias", "{path}.bias"),
    ),
    "VLPET": (
        (
            rf"{VALUES}\.bottleneck\.(?P<half>down|up)\.(?P<leaf>\w+)",
            "{holder}.attn_value_parallel_adapter.adapters.{task}.{half}_sampler.{leaf}",
        ),
        (
            rf"{SITE}\.bottleneck\.down\.(?P<leaf>\w+)",
            "{holder}.{adapter}_multihead_down.{head}.{leaf}",
        ),
        (rf"{SITE}\.bottleneck\.up\.(?P<leaf>\w+)", "{holder}.{adapter}_multihead_up.{leaf}"),
        (
            rf"{SITE}\.gate\.(?P<half>down|up)\.(?P<leaf>\w+)",
            "{holder}.encoder_{adapter}_gating_large_x_{half}.{leaf}",
        ),
        (rf"{SITE}\.gate\.g", "{holder}.encoder_{adapter}_gating_middle_ia3_add"),
        (
            rf"{SITE}\.gate\.of_sum\.(?P<leaf>\w+)",
            "{holder}.encoder_{adapter}_gating_middle_xy_add.{leaf}",
        ),
        (
            rf"{SITE}\.gate\.of_both\.(?P<leaf>\w+)",
            "{holder}.encoder_{adapter}_gating_small_xy_cat.{leaf}",
        ),
    ),
    "LST": (
        (r"(?P<side>\w+)\.stack\.block\.(?P<rest>.+)", "{side}.side_block.{rest}"),
        (r"(?P<side>\w+)\.stack\.final_layer_norm\.weight", "{side}.final_side_layer_norm.weight"),
        (r"(?P<side>\w+)\.entrance\.(?P<leaf>\w+)", "{side}.side_first_downsample.{leaf}"),
        (r"(?P<side>\w+)\.rungs\.(?P<rest>.+)", "{side}.side_downsamples.{rest}"),
        (r"(?P<side>\w+)\.gates\.(?P<layer>\d+)\.alpha", "{side}.side_gate_params.{layer}"),
        (r"up\.(?P<leaf>\w+)", "side_final_upsample.{leaf}"),
    ),
}
"""By the technique's class."""
