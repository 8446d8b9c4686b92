"""The names of every tensor of an adapted model in the authors' state dicts (VL-Adapter's format).

Their modules that tasks share stand there once per task, the token table four times, and once more
as a tied output layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from vlbench.backbones.bart import JointBart
from vlbench.backbones.base import Backbone
from vlbench.backbones.sites import Kind, Side
from vlbench.backbones.t5 import JointT5
from vlbench.checkpoints.names import TASKS, TECHNIQUES, Row
from vlbench.errors import UsageError, nearest
from vlbench.techniques.adapt import AdaptedModel
from vlbench.techniques.base import Technique
from vlbench.techniques.bottleneck import SHARED
from vlbench.tensors import unique_state


class Name(NamedTuple):
    """One of our tensors, or some of its rows, and what the authors call it."""

    ours: str
    rows: slice
    """Rows of ours that theirs holds; `slice(None)`: all."""
    theirs: tuple[str, ...]
    """The first is where a file without repetitions keeps it, the others are the same tensor."""


class Layout(NamedTuple):
    """How the authors' model of a backbone is built."""

    root: str
    adapters: dict[tuple[Side, Kind], str]
    """Their name of the adapter at a site."""


ADAPTERS: dict[tuple[Side, Kind], str] = {
    ("encoder", "self_attention"): "attn_adapter",
    ("encoder", "feed_forward"): "ff_adapter",
    ("decoder", "self_attention"): "attn_adapter",
    ("decoder", "cross_attention"): "enc_attn_adapter",
    ("decoder", "feed_forward"): "ff_adapter",
}
LAYOUTS: dict[type[Backbone], Layout] = {
    JointBart: Layout("model.", {**ADAPTERS, ("decoder", "self_attention"): "self_attn_adapter"}),
    JointT5: Layout("", ADAPTERS),
}
HALVES = ("down", "up")
VISUAL = {
    "feature": "feat_embedding",
    "place": "absolute_vis_pos_embedding",
    "image": "img_order_embedding",
}
TABLES = (
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
    """The names of all tensors of a model; `tasks` spells each of our tasks as they spell it.

    UsageError where the technique is none of theirs.
    """
    layout = LAYOUTS[type(model.backbone)]
    placed = _places(model.backbone, layout)
    names: list[Name] = []
    for name, tensor in unique_state(model).items():
        owner, _, rest = name.partition(".")
        if owner == "backbone":
            names.append(Name(name, slice(None), _of_backbone(rest, layout.root, model.backbone)))
            continue
        technique, rest = _part(model.technique, rest)
        fields, templates = _row(technique, rest, name)
        fields["root"] = layout.root
        choices = _choices(fields, placed, tasks)
        names += _named(name, tensor.shape[:1], templates, fields, choices)
    return names


def _of_backbone(name: str, root: str, backbone: Backbone) -> tuple[str, ...]:
    part, _, rest = name.partition(".")
    if part == "visual":
        piece, _, leaf = rest.partition(".")
        return (f"{root}encoder.visual_embedding.{VISUAL[piece]}.{leaf}",)
    if (
        rest.endswith(".weight")
        and backbone.language.get_parameter(rest) is backbone.token_embedding
    ):
        tables = TABLES if backbone.config.tie_word_embeddings else TABLES[:-1]
        return tuple(f"{table.format(root=root)}.weight" for table in tables)
    return (rest,)


def _part(technique: Technique, name: str) -> tuple[Technique, str]:
    """The technique a tensor is of, within a composition too, and its name there."""
    part = re.match(r"parts\.(\w+)\.", name)
    if part is None:
        return technique, name
    inner = technique.get_submodule(f"parts.{part[1]}")
    assert isinstance(inner, Technique)
    return inner, name[part.end() :]


def _row(technique: Technique, name: str, shown: str) -> tuple[dict[str, str], Sequence[str]]:
    kind = type(technique).__name__
    rows: tuple[Row, ...] = TECHNIQUES.get(kind, ())
    for pattern, *templates in rows:
        found = re.fullmatch(pattern, name)
        if found:
            fields = found.groupdict()
            if "path" in fields:
                fields["path"] = fields["path"].replace("-", ".")
            heads = technique.params.model_dump().get("heads", 1)
            return {**fields, "heads": str(heads)}, templates
    raise UsageError(f"The authors' checkpoints have no name for {shown} of {kind}.")


def _places(backbone: Backbone, layout: Layout) -> dict[str, dict[str, str]]:
    """Site -> the paths that templates use."""
    paths = {module: path for path, module in backbone.language.named_modules()}
    found = {}
    for site in backbone.sites():
        if site.kind == "encoder_input":
            continue
        module = paths[site.module]
        found[site.name] = {
            "module": module,
            "holder": module.rpartition(".")[0],
            "adapter": layout.adapters.get((site.side, site.kind), ""),
        }
    return found


def _choices(
    fields: Mapping[str, str], placed: Mapping[str, dict[str, str]], tasks: Mapping[str, str]
) -> list[list[dict[str, str]]]:
    """Per special field the values under which the tensor stands there: its own, or all of them."""
    task, half, site = fields.get("task", SHARED), fields.get("half"), fields.get("site")
    return [
        [{"task": each} for each in (tasks.values() if task == SHARED else [tasks[task]])],
        [{"half": each} for each in ([half] if half else HALVES)],
        [placed[site]] if site else [each for each in placed.values() if each["adapter"]],
    ]


def _named(
    ours: str,
    size: tuple[int, ...],
    templates: Sequence[str],
    fields: dict[str, str],
    choices: list[list[dict[str, str]]],
) -> Iterator[Name]:
    if not any("{head}" in template for template in templates):
        yield Name(ours, slice(None), _each(templates, fields, choices))
        return
    heads = int(fields["heads"])
    step = size[0] // heads
    for head in range(heads):
        rows = slice(head * step, (head + 1) * step)
        yield Name(ours, rows, _each(templates, {**fields, "head": str(head)}, choices))


def _each(
    templates: Sequence[str], fields: Mapping[str, str], choices: list[list[dict[str, str]]]
) -> tuple[str, ...]:
    """Every template under every choice, each name once."""
    names = []
    for template, chosen in product(templates, product(*choices)):
        values = dict(fields)
        for choice in chosen:
            values |= choice
        names.append(template.format(**values))
    return tuple(dict.fromkeys(names))
