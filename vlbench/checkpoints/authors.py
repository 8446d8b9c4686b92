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
from typing import NamedTuple, cast

from vlbench.backbones.bart import JointBart
from vlbench.backbones.base import Backbone, Kind
from vlbench.backbones.t5 import JointT5
from vlbench.errors import UsageError, nearest
from vlbench.techniques.adapt import AdaptedModel
from vlbench.techniques.adapter import SHARED
from vlbench.techniques.base import Technique
from vlbench.tensors import unique_state

SITE, LEAF, HALF = r"sites\.(?P<site>\w+)", r"\.(?P<leaf>\w+)", r"\.(?P<half>down|up)"
DOWN_UP = rf"{SITE}{HALF}\.layers\.(?P<task>\w+)"
EITHER_SIDE = r"(?P<side>encoder|decoder)"
PROMPTS = r"prompts\.layers\.(?P<task>\w+)"
SAMPLER = "{holder}.{adapter}.adapters.{task}.{half}_sampler"
CONTROLLER = "{root}{side}.adapter_layers_hyper_net"
PROMPT = "{root}encoder.prompt_modules.prompts.{task}.prefix_embedding"
VISUAL = "{root}encoder.visual_embedding"
TASK_VECTORS = "task_embed.task_to_embeddings.{task}"
GATING = "{holder}.encoder_{adapter}_gating"

TASKS = {"vqav2": "vqa", "gqa": "gqa", "nlvr2": "nlvr", "coco": "caption"}
TASKS |= {task: task for task in ("tvqa", "how2qa", "tvc", "yc2c")}
"""Our tasks as they spell them."""

LOW_RANK = {
    rf"{DOWN_UP}\.(?P<leaf>left|right)": f"{SAMPLER}.W_{{leaf}}",
    rf"{DOWN_UP}\.b": f"{SAMPLER}.b",
}
TECHNIQUES: dict[str, dict[str, str]] = {
    "Adapter": {rf"{DOWN_UP}{LEAF}": f"{SAMPLER}.{{leaf}}"},
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
        rf"sides\.{EITHER_SIDE}\.layers\.weight": f"{CONTROLLER}.layer_id_embeddings.weight",
        rf"sides\.{EITHER_SIDE}\.types\.weight": f"{CONTROLLER}.adapters_block_type.weight",
        rf"sides\.{EITHER_SIDE}\.projector\.(?P<rest>.+)": (
            f"{CONTROLLER}.task_hypernet.task_embeding_generator.{{rest}}"
        ),
        rf"sides\.{EITHER_SIDE}\.norm{LEAF}": f"{CONTROLLER}.LayerNorm.{{leaf}}",
        rf"sides\.{EITHER_SIDE}{HALF}\.any\.(?P<what>\w+){LEAF}": (
            f"{CONTROLLER}.{{half}}_sampler_hyper_net.{{what}}_generator.0.{{leaf}}"
        ),
        rf"sides\.{EITHER_SIDE}{HALF}\.(?P<kind>\w+)\.(?P<what>\w+){LEAF}": (
            f"{CONTROLLER}.{{kind}}_{{half}}_sampler_hyper_net.{{what}}_generator.0.{{leaf}}"
        ),
    },
    "LoRA": {
        rf"{SITE}\.down\.layers\.(?P<task>\w+)\.weight": "{module}.lora_As.{task}",
        rf"{SITE}\.up\.layers\.(?P<task>\w+)\.weight": "{module}.lora_Bs.{task}",
    },
    "PromptTuning": {
        rf"{PROMPTS}\.embedding\.weight": f"{PROMPT}.0.weight",
        rf"{PROMPTS}\.first{LEAF}": f"{PROMPT}.1.{{leaf}}",
        rf"{PROMPTS}\.second{LEAF}": f"{PROMPT}.3.{{leaf}}",
    },
    "BitFit": {
        r"added\.visual-feature-1\.bias": f"{VISUAL}.feat_embedding.1.bias",
        r"added\.visual-place-1\.bias": f"{VISUAL}.absolute_vis_pos_embedding.1.bias",
        r"added\.language-(?P<path>[\w-]+)\.bias": "{path}.bias",
    },
    "VLPET": {
        rf"sites\.(?P<site>\w+_value)\.bottleneck{HALF}{LEAF}": (
            "{holder}.attn_value_parallel_adapter.adapters.{task}.{half}_sampler.{leaf}"
        ),
        rf"{SITE}\.bottleneck\.down{LEAF}": "{holder}.{adapter}_multihead_down.{head}.{leaf}",
        rf"{SITE}\.bottleneck\.up{LEAF}": "{holder}.{adapter}_multihead_up.{leaf}",
        rf"{SITE}\.gate{HALF}{LEAF}": f"{GATING}_large_x_{{half}}.{{leaf}}",
        rf"{SITE}\.gate\.g": f"{GATING}_middle_ia3_add",
        rf"{SITE}\.gate\.of_sum{LEAF}": f"{GATING}_middle_xy_add.{{leaf}}",
        rf"{SITE}\.gate\.of_both{LEAF}": f"{GATING}_small_xy_cat.{{leaf}}",
    },
    "LST": {
        rf"{EITHER_SIDE}\.stack\.block\.(?P<rest>.+)": "{side}.side_block.{rest}",
        rf"{EITHER_SIDE}\.stack\.final_layer_norm{LEAF}": "{side}.final_side_layer_norm.{leaf}",
        rf"{EITHER_SIDE}\.entrance{LEAF}": "{side}.side_first_downsample.{leaf}",
        rf"{EITHER_SIDE}\.rungs\.(?P<rest>.+)": "{side}.side_downsamples.{rest}",
        rf"{EITHER_SIDE}\.gates\.(?P<layer>\d+)\.alpha": "{side}.side_gate_params.{layer}",
        rf"up{LEAF}": "side_final_upsample.{leaf}",
    },
}
"""Class of the technique -> pattern -> templates; the first is where a file without repetitions
keeps the tensor, the others are further names of it."""


class Name(NamedTuple):
    """One of our tensors, or some of its rows, and its names in a file of theirs."""

    ours: str
    rows: slice
    theirs: tuple[str, ...]


ROOTS: dict[type[Backbone], str] = {JointBart: "model.", JointT5: ""}
"""By our backbone: the path of their encoder-decoder."""
ADAPTERS: dict[Kind, str] = {
    "self_attention": "attn_adapter",
    "cross_attention": "enc_attn_adapter",
    "feed_forward": "ff_adapter",
}
VISUAL_PARTS = {
    "feature": "feat_embedding",
    "place": "absolute_vis_pos_embedding",
    "image": "img_order_embedding",
}
TOKEN_EMBEDDINGS = (
    *("{root}shared", "{root}encoder.embed_tokens", "{root}decoder.embed_tokens"),
    *("{root}encoder.visual_embedding.obj_order_embedding", "lm_head"),
)
"""The last where it is tied."""


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
    root = ROOTS[type(model.backbone)]
    paths = {module: path for path, module in model.backbone.language.named_modules()}
    sites = {}
    for site in model.backbone.sites()[1:]:  # behind the encoder's input
        path, adapter = paths[site.module], ADAPTERS.get(site.kind, "")
        if root and (site.side, site.kind) == ("decoder", "self_attention"):
            adapter = f"self_{adapter}"
        holder = path.rpartition(".")[0]
        sites[site.name] = {"module": path, "holder": holder, "adapter": adapter}
    names: list[Name] = []
    for name, tensor in unique_state(model).items():
        owner, _, rest = name.partition(".")
        if owner == "backbone":
            names.append(Name(name, slice(None), _backbone_names(rest, root, model.backbone)))
            continue
        technique, groups, templates = _templates(model.technique, rest)
        # theirs has the tensor under its own task, half and site, or under all of them
        task, half, at = (groups.get(key) for key in ("task", "half", "site"))
        choices = list(
            product(
                tasks.values() if task in (None, SHARED) else [tasks[task]],
                [half] if half else ["down", "up"],
                [sites[at]] if at else [s for s in sites.values() if s["adapter"]],
            )
        )
        has_heads = "{head}" in templates[0]
        heads = int(technique.params.model_dump()["heads"]) if has_heads else 1
        for head in range(heads):
            size = len(tensor) // heads if has_heads else 0
            rows = slice(head * size, (head + 1) * size) if has_heads else slice(None)
            fields = {**groups, "root": root, "head": str(head)}
            theirs = [
                template.format(**fields | at_site | {"half": half, "task": task})
                for template in templates
                for task, half, at_site in choices
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
        technique = cast(Technique, technique.get_submodule(f"parts.{part[1]}"))
        local = name[part.end() :]
    kind = type(technique).__name__
    for pattern, templates in TECHNIQUES.get(kind, {}).items():
        if match := re.fullmatch(pattern, local):
            groups = match.groupdict()
            groups |= {"path": groups["path"].replace("-", ".")} if "path" in groups else {}
            return technique, groups, templates.split()
    raise UsageError(f"The authors' checkpoints have no name for technique.{name} of {kind}.")
