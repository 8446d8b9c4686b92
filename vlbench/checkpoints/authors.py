"""The names of every tensor of an adapted model in the authors' state dicts (VL-Adapter's format).

Modules that tasks share appear in them once per task, the token embedding four times, and once more
as a tied output layer.

What a technique's tensors are called is a table to append to. A row of it is a pattern over our
name behind `technique.` and their name as a template; further templates are other names of the same
tensor in their files. Named groups of the pattern fill the templates; `site`, `half`, `task` and
`head` are special:

- `site` also gives `{module}`, the path of the site's module, `{holder}`, the path of what holds
  that module, and `{adapter}`, their name of an adapter at the site;
- `task` is spelt as they spell it; where ours is `all`, theirs has one tensor under every task;
- a template that names what the pattern does not (`{holder}`, `{half}`, `{task}`) stands for all
  sites with adapters, both halves, every task;
- `path` has dashes where theirs has dots;
- `{head}` in the template: the rows of our tensor are theirs of heads 0, 1, ... one after another,
  as many as the technique's parameter `heads` says;
- `{root}` is the path of their encoder-decoder: `model.` for BART, nothing for T5.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
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
DOWN_UP = rf"{SITE}\.(?P<half>down|up)\.layers\.(?P<task>\w+)"
SAMPLER = "{holder}.{adapter}.adapters.{task}.{half}_sampler"

VALUES = r"sites\.(?P<site>\w+_value)"
SIDES = r"sides\.(?P<side>encoder|decoder)"
CONTROLLER = "{root}{side}.adapter_layers_hyper_net"
PROMPT = "{root}encoder.prompt_modules.prompts.{task}.prefix_embedding"
VISUAL = "{root}encoder.visual_embedding"

Fields = dict[str, str]
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


class Name(NamedTuple):
    """One of our tensors, or some of its rows, and what the authors call it."""

    ours: str
    rows: slice
    """Rows of ours that theirs holds; `slice(None)`: all."""
    theirs: tuple[str, ...]
    """The first is where a file without repetitions keeps it, the others are the same tensor."""


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
    """Our tasks, each as they spell it; UsageError for one that they do not have."""
    names = list(tasks)
    for task in names:
        if task not in TASKS:
            raise UsageError(f"The authors' code has no task '{task}'. {nearest(task, TASKS)}")
    return {task: TASKS[task] for task in names}


def authors_names(model: AdaptedModel, tasks: Mapping[str, str]) -> list[Name]:
    """The names of all tensors of a model; `tasks` spells our tasks as the authors do.

    UsageError where the technique is none of theirs.
    """
    root, adapters = LAYOUTS[type(model.backbone)]
    sites = _sites(model.backbone, adapters)
    names: list[Name] = []
    for name, tensor in unique_state(model).items():
        owner, _, rest = name.partition(".")
        if owner == "backbone":
            names.append(Name(name, slice(None), _backbone_names(rest, root, model.backbone)))
            continue
        technique, rest = _part(model.technique, rest)
        groups, templates = _row(technique, rest, name)
        heads = 1
        if any("{head}" in template for template in templates):
            heads = int(technique.params.model_dump().get("heads", 1))
        size = len(tensor) // heads if heads > 1 else 0
        for head in range(heads):
            rows = slice(head * size, (head + 1) * size) if heads > 1 else slice(None)
            fields = {**groups, "root": root, "head": str(head)}
            filled = [
                template.format(**fields | site | {"half": half, "task": task})
                for template in templates
                for task, half, site in _choices(groups, sites, tasks)
            ]
            names.append(Name(name, rows, tuple(dict.fromkeys(filled))))
    return names


def _backbone_names(name: str, root: str, backbone: Backbone) -> tuple[str, ...]:
    part, _, rest = name.partition(".")
    if part == "visual":
        piece, _, leaf = rest.partition(".")
        return (f"{root}encoder.visual_embedding.{VISUAL_PARTS[piece]}.{leaf}",)
    if (
        rest.endswith(".weight")
        and backbone.language.get_parameter(rest) is backbone.token_embedding
    ):
        is_tied = backbone.config.tie_word_embeddings
        copies = TOKEN_EMBEDDINGS if is_tied else TOKEN_EMBEDDINGS[:-1]
        return tuple(f"{copy.format(root=root)}.weight" for copy in copies)
    return (rest,)


def _part(technique: Technique, name: str) -> tuple[Technique, str]:
    """The technique a tensor is of, within a composition too, and its name in that."""
    part = re.match(r"parts\.(\w+)\.", name)
    if part is None:
        return technique, name
    inner = technique.get_submodule(f"parts.{part[1]}")
    assert isinstance(inner, Technique)
    return inner, name[part.end() :]


def _row(technique: Technique, name: str, full_name: str) -> tuple[dict[str, str], Sequence[str]]:
    """The groups of the first pattern that matches, and its templates."""
    kind = type(technique).__name__
    for pattern, *templates in TECHNIQUES.get(kind, ()):
        match = re.fullmatch(pattern, name)
        if match:
            groups = match.groupdict()
            if "path" in groups:
                groups["path"] = groups["path"].replace("-", ".")
            return groups, templates
    raise UsageError(f"The authors' checkpoints have no name for {full_name} of {kind}.")


def _sites(backbone: Backbone, adapters: Mapping[tuple[Side, Kind], str]) -> dict[str, Fields]:
    """Site -> the paths that templates use."""
    paths = {module: path for path, module in backbone.language.named_modules()}
    return {
        site.name: {
            "module": paths[site.module],
            "holder": paths[site.module].rpartition(".")[0],
            "adapter": adapters.get((site.side, site.kind), ""),
        }
        for site in backbone.sites()
        if site.kind != "encoder_input"
    }


def _choices(
    groups: Fields, sites: Mapping[str, Fields], tasks: Mapping[str, str]
) -> Iterable[tuple[str, str, Fields]]:
    """Every task, half and site under which theirs has the tensor: its own, or all of them."""
    task, half, site = (groups.get(key) for key in ("task", "half", "site"))
    return product(
        tasks.values() if task in (None, SHARED) else [tasks[task]],
        [half] if half else ["down", "up"],
        [sites[site]] if site else [site for site in sites.values() if site["adapter"]],
    )
