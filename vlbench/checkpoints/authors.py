"""The names of every tensor of an adapted model in the authors' state dicts (VL-Adapter's format).

Modules that tasks share appear in them once per task, the token embedding four times, and once more
as a tied output layer. TECHNIQUES has patterns over our name behind `technique.`, and their names
as templates, which named groups of the pattern fill:

- `site` also gives the paths of the site's `{module}` and of its `{holder}`, and `{adapter}`, their
  name of an adapter there; `{root}` is the path of their encoder-decoder;
- what a template names and the pattern does not (`{holder}`, `{half}`, `{task}`), or a task that is
  `all`, stands for all sites with adapters, both halves, every task;
- `{head}`: the rows of our tensor are theirs of heads 0, 1, ..., as many as the parameter `heads`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import product
from typing import NamedTuple

from vlbench.backbones.bart import JointBart
from vlbench.backbones.base import Backbone, Kind, Side
from vlbench.backbones.t5 import JointT5
from vlbench.errors import UsageError, nearest
from vlbench.techniques.adapt import AdaptedModel
from vlbench.techniques.adapter import SHARED
from vlbench.techniques.base import Technique
from vlbench.tensors import unique_state

SITE = r"sites\.(?P<site>\w+)"
VALUES = r"sites\.(?P<site>\w+_value)"
DOWN_UP = rf"{SITE}\.(?P<half>down|up)\.layers\.(?P<task>\w+)"
SIDES = r"sides\.(?P<side>encoder|decoder)"
HALF_OF = r"(?P<half>down|up)\.(?P<kind>\w+)\.(?P<what>\w+)\.(?P<leaf>\w+)"
PROMPTS = r"prompts\.layers\.(?P<task>\w+)"
SAMPLER = "{holder}.{adapter}.adapters.{task}.{half}_sampler"
CONTROLLER = "{root}{side}.adapter_layers_hyper_net"
PROMPT = "{root}encoder.prompt_modules.prompts.{task}.prefix_embedding"
VISUAL = "{root}encoder.visual_embedding"
TASK_VECTORS = "task_embed.task_to_embeddings.{task}"

TASKS = {"vqav2": "vqa", "gqa": "gqa", "nlvr2": "nlvr", "coco": "caption"}
TASKS |= {task: task for task in ("tvqa", "how2qa", "tvc", "yc2c")}
"""Our tasks as they spell them."""

LOW_RANK = {
    rf"{DOWN_UP}\.left": f"{SAMPLER}.W_left",
    rf"{DOWN_UP}\.right": f"{SAMPLER}.W_right",
    rf"{DOWN_UP}\.b": f"{SAMPLER}.b",
}
TECHNIQUES: dict[str, dict[str, str]] = {
    "Adapter": {rf"{DOWN_UP}\.(?P<leaf>weight|bias)": f"{SAMPLER}.{{leaf}}"},
    "Compacter": {
        r"rule": f"phm_rule {SAMPLER}.phm_rule",
        rf"{DOWN_UP}\.rule": f"{SAMPLER}.phm_rule",
        rf"{DOWN_UP}\.w": f"{SAMPLER}.W",
        **LOW_RANK,
    },
    "LowRankAdapter": LOW_RANK,
    "Hyperformer": {
        r"task_vectors\.(?P<task>\w+)": f"{{root}}shared_{TASK_VECTORS} "
        f"{{root}}encoder.{TASK_VECTORS} {{root}}decoder.{TASK_VECTORS}",
        rf"{SIDES}\.layers\.weight": f"{CONTROLLER}.layer_id_embeddings.weight",
        rf"{SIDES}\.types\.weight": f"{CONTROLLER}.adapters_block_type.weight",
        rf"{SIDES}\.projector\.(?P<rest>.+)": (
            f"{CONTROLLER}.task_hypernet.task_embeding_generator.{{rest}}"
        ),
        rf"{SIDES}\.norm\.(?P<leaf>\w+)": f"{CONTROLLER}.LayerNorm.{{leaf}}",
        rf"{SIDES}\.(?P<half>down|up)\.any\.(?P<what>\w+)\.(?P<leaf>\w+)": (
            f"{CONTROLLER}.{{half}}_sampler_hyper_net.{{what}}_generator.0.{{leaf}}"
        ),
        rf"{SIDES}\.{HALF_OF}": (
            f"{CONTROLLER}.{{kind}}_{{half}}_sampler_hyper_net.{{what}}_generator.0.{{leaf}}"
        ),
    },
    "LoRA": {
        rf"{SITE}\.down\.layers\.(?P<task>\w+)\.weight": "{module}.lora_As.{task}",
        rf"{SITE}\.up\.layers\.(?P<task>\w+)\.weight": "{module}.lora_Bs.{task}",
    },
    "PromptTuning": {
        rf"{PROMPTS}\.embedding\.weight": f"{PROMPT}.0.weight",
        rf"{PROMPTS}\.first\.(?P<leaf>\w+)": f"{PROMPT}.1.{{leaf}}",
        rf"{PROMPTS}\.second\.(?P<leaf>\w+)": f"{PROMPT}.3.{{leaf}}",
    },
    "BitFit": {
        r"added\.visual-feature-1\.bias": f"{VISUAL}.feat_embedding.1.bias",
        r"added\.visual-place-1\.bias": f"{VISUAL}.absolute_vis_pos_embedding.1.bias",
        r"added\.language-(?P<path>[\w-]+)\.bias": "{path}.bias",
    },
    "VLPET": {
        rf"{VALUES}\.bottleneck\.(?P<half>down|up)\.(?P<leaf>\w+)": (
            "{holder}.attn_value_parallel_adapter.adapters.{task}.{half}_sampler.{leaf}"
        ),
        rf"{SITE}\.bottleneck\.down\.(?P<leaf>\w+)": (
            "{holder}.{adapter}_multihead_down.{head}.{leaf}"
        ),
        rf"{SITE}\.bottleneck\.up\.(?P<leaf>\w+)": "{holder}.{adapter}_multihead_up.{leaf}",
        rf"{SITE}\.gate\.(?P<half>down|up)\.(?P<leaf>\w+)": (
            "{holder}.encoder_{adapter}_gating_large_x_{half}.{leaf}"
        ),
        rf"{SITE}\.gate\.g": "{holder}.encoder_{adapter}_gating_middle_ia3_add",
        rf"{SITE}\.gate\.of_sum\.(?P<leaf>\w+)": (
            "{holder}.encoder_{adapter}_gating_middle_xy_add.{leaf}"
        ),
        rf"{SITE}\.gate\.of_both\.(?P<leaf>\w+)": (
            "{holder}.encoder_{adapter}_gating_small_xy_cat.{leaf}"
        ),
    },
    "LST": {
        r"(?P<side>\w+)\.stack\.block\.(?P<rest>.+)": "{side}.side_block.{rest}",
        r"(?P<side>\w+)\.stack\.final_layer_norm\.weight": "{side}.final_side_layer_norm.weight",
        r"(?P<side>\w+)\.entrance\.(?P<leaf>\w+)": "{side}.side_first_downsample.{leaf}",
        r"(?P<side>\w+)\.rungs\.(?P<rest>.+)": "{side}.side_downsamples.{rest}",
        r"(?P<side>\w+)\.gates\.(?P<layer>\d+)\.alpha": "{side}.side_gate_params.{layer}",
        r"up\.(?P<leaf>\w+)": "side_final_upsample.{leaf}",
    },
}
"""Class of the technique -> pattern -> templates; the first is where a file without repetitions
keeps the tensor, the others are further names of it."""


class Name(NamedTuple):
    """One of our tensors, or some of its rows, and its names in a file of theirs."""

    ours: str
    rows: slice
    theirs: tuple[str, ...]


ADAPTERS: dict[tuple[Side, Kind], str] = {
    ("encoder", "self_attention"): "attn_adapter",
    ("encoder", "feed_forward"): "ff_adapter",
    ("decoder", "self_attention"): "attn_adapter",
    ("decoder", "cross_attention"): "enc_attn_adapter",
    ("decoder", "feed_forward"): "ff_adapter",
}
LAYOUTS: dict[type[Backbone], tuple[str, dict[tuple[Side, Kind], str]]] = {
    JointBart: ("model.", {**ADAPTERS, ("decoder", "self_attention"): "self_attn_adapter"}),
    JointT5: ("", ADAPTERS),
}
"""By our backbone: the root of their model, and their name of the adapter at a site."""
VISUAL_PARTS = {
    "feature": "feat_embedding",
    "place": "absolute_vis_pos_embedding",
    "image": "img_order_embedding",
}
TOKEN_EMBEDDINGS = (
    "{root}shared",
    "{root}encoder.embed_tokens",
    "{root}decoder.embed_tokens",
    "{root}encoder.visual_embedding.obj_order_embedding",
    "lm_head",  # where it is tied
)


def spelt(tasks: Iterable[str]) -> dict[str, str]:
    """Return our tasks as the authors spell them; UsageError for one that they do not have."""
    spelling = {}
    for task in tasks:
        if task not in TASKS:
            raise UsageError(f"The authors' code has no task '{task}'. {nearest(task, TASKS)}")
        spelling[task] = TASKS[task]
    return spelling


def authors_names(model: AdaptedModel, tasks: Mapping[str, str]) -> list[Name]:
    """Return the names of all tensors of a model; `tasks` spells our tasks as the authors do."""
    root, adapters = LAYOUTS[type(model.backbone)]
    paths = {module: path for path, module in model.backbone.language.named_modules()}
    sites = {
        site.name: {
            "module": paths[site.module],
            "holder": paths[site.module].rpartition(".")[0],
            "adapter": adapters.get((site.side, site.kind), ""),
        }
        for site in model.backbone.sites()
        if site.kind != "encoder_input"
    }
    names: list[Name] = []
    for name, tensor in unique_state(model).items():
        owner, _, rest = name.partition(".")
        if owner == "backbone":
            names.append(Name(name, slice(None), _backbone_names(rest, root, model.backbone)))
            continue
        technique, groups, templates = _templates(model.technique, rest)
        # theirs has the tensor under its own task, half and site, or under all of them
        task, half, site = (groups.get(key) for key in ("task", "half", "site"))
        choices = [
            *product(
                tasks.values() if task in (None, SHARED) else [tasks[task]],
                [half] if half else ["down", "up"],
                [sites[site]] if site else [s for s in sites.values() if s["adapter"]],
            )
        ]
        has_heads = "{head}" in templates[0]
        heads = int(technique.params.model_dump()["heads"]) if has_heads else 1
        for head in range(heads):
            size = len(tensor) // heads if has_heads else 0
            rows = slice(head * size, (head + 1) * size) if has_heads else slice(None)
            fields = {**groups, "root": root, "head": str(head)}
            theirs = [
                template.format(**fields | place | {"half": half, "task": task})
                for template in templates
                for task, half, place in choices
            ]
            names.append(Name(name, rows, tuple(dict.fromkeys(theirs))))
    return names


def _backbone_names(name: str, root: str, backbone: Backbone) -> tuple[str, ...]:
    part, _, rest = name.partition(".")
    if part == "visual":
        piece, _, leaf = rest.partition(".")
        return (f"{root}encoder.visual_embedding.{VISUAL_PARTS[piece]}.{leaf}",)
    parameters = dict(backbone.language.named_parameters())
    if rest in parameters and parameters[rest] is backbone.token_embedding:
        is_tied = backbone.config.tie_word_embeddings
        copies = TOKEN_EMBEDDINGS if is_tied else TOKEN_EMBEDDINGS[:-1]
        return tuple(f"{copy.format(root=root)}.weight" for copy in copies)
    return (rest,)


def _templates(technique: Technique, name: str) -> tuple[Technique, dict[str, str], list[str]]:
    """The technique of a tensor, within a composition too; groups of its pattern; templates."""
    local = name
    if part := re.match(r"parts\.(\w+)\.", name):
        inner = technique.get_submodule(f"parts.{part[1]}")
        assert isinstance(inner, Technique)
        technique, local = inner, name[part.end() :]
    kind = type(technique).__name__
    for pattern, templates in TECHNIQUES.get(kind, {}).items():
        if match := re.fullmatch(pattern, local):
            groups = match.groupdict()
            groups |= {"path": groups["path"].replace("-", ".")} if "path" in groups else {}
            return technique, groups, templates.split()
    raise UsageError(f"The authors' checkpoints have no name for technique.{name} of {kind}.")
