"""The README.md of an exported model: scores, data, licence of the backbone, how to load it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from vlbench.backbones import find_backbone
from vlbench.backbones.sources import CONFIG_FILE, hub_folder, weights_folder
from vlbench.cards.backbone import BackboneCard
from vlbench.errors import VlbenchError
from vlbench.files import read_object
from vlbench.runs.result import NO_MAJORITY
from vlbench.runs.spec import RunSpec
from vlbench.text import printable, printable_lines

UNKNOWN = "unknown"
"""How the hub spells a licence that nobody has named."""
DATA_TERMS = "The data have terms of their own."
CLASSES = {"chat": ("AutoModelForImageTextToText", "AutoProcessor")}
OF_TEXT = ("AutoModelForSeq2SeqLM", "AutoTokenizer")
"""Classes of transformers for a chat model, and for the language model of an encoder-decoder."""


def model_card(
    spec: RunSpec,
    format: str,
    task: str,
    name: str,
    rows: Iterable[Mapping[str, Any]],
) -> str:
    """Write the card of a run's model as the folder `name` of this format holds it.

    `rows` are those of the run's result; `task` is the one whose weights these are, if not all's.
    """
    backbone, scores = find_backbone(spec.backbone_reference), list(_scores(rows))
    license, source = license_of(backbone, spec)
    titles = {card.name: card.title for card in spec.tasks}
    kinds = {card.name: card.metric in NO_MAJORITY for card in spec.tasks}
    data = ModelCardData(
        license=license,
        library_name=_library(backbone, format),
        base_model=_hub_name(backbone, spec),
        tags=["vlbench", spec.method.name],
        model_name=name,
        eval_results=[
            EvalResult(
                task_type="image-to-text" if kinds[row["task"]] else "visual-question-answering",
                dataset_type=row["task"],
                dataset_name=f"{titles[row['task']]} ({spec.edition} edition)",
                dataset_split=row["split"],
                metric_type=row["metric"].partition(".")[2],
                metric_value=row["value"],
            )
            for row in scores
            if row["value"] is not None
        ]
        or None,
    )
    whose = f" The weights are those for {titles[task]} ({task})." if task else ""
    code = f" {scores[0]['code_version']}" if scores else ""
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {printable(spec.name)}",
        f"{spec.method.title} (technique `{spec.method.technique}`) on {backbone.title}. "
        f"Trained by vlbench{code}, run {spec.key}.{whose}",
        "## Scores",
        _score_table(scores),
        "## Load",
        _loading(backbone, format, name, spec),
        "## Data",
        "\n".join(_data_lines(spec)),
        "## Licence",
        _license_text(license, source, backbone.name),
    ]
    return printable_lines("\n\n".join(parts)) + "\n"


def license_of(backbone: BackboneCard, spec: RunSpec) -> tuple[str, str]:
    """The licence of the backbone's weights and what names it; else `unknown` and nothing.

    The backbone's card knows that of its own source; else the model card or the configuration that
    lies with the weights does.
    """
    if backbone.license and not spec.backbone_path:
        return backbone.license, "the backbone's card in vlbench"
    path = Path(spec.backbone_path) if spec.backbone_path else None
    folder = weights_folder(path or backbone.source_of(spec.tasks[0].visual))
    sources = {
        "the model card that lies with its weights": _card_license(folder / "README.md"),
        f"the {CONFIG_FILE} that lies with its weights": _config_license(folder / CONFIG_FILE),
    }
    named = ((license, source) for source, license in sources.items() if license)
    return next(named, (UNKNOWN, ""))


def _card_license(file: Path) -> str:
    with suppress(Exception):  # the library and its parser raise anything of a damaged one
        license = ModelCard.load(file).data.get("license") if file.is_file() else None
        return license if isinstance(license, str) else ""
    return ""


def _config_license(file: Path) -> str:
    with suppress(VlbenchError):  # a package's folder has no configuration
        license = read_object(file).get("license")
        return license if isinstance(license, str) else ""
    return ""


def _license_text(license: str, source: str, backbone: str) -> str:
    if license == UNKNOWN:
        return (
            f"Unknown: neither vlbench nor the files of `{backbone}` name the licence of its "
            f"weights. Look it up before you pass this model on. {DATA_TERMS}"
        )
    return (
        f"The weights of `{backbone}`, which this model is made from, are under `{license}`, says "
        f"{source}. {DATA_TERMS}"
    )


def _hub_name(backbone: BackboneCard, spec: RunSpec) -> str | None:
    """The backbone's name on the hub, where its weights came from there."""
    source = str(backbone.source_of(spec.tasks[0].visual))
    is_hub = not spec.backbone_path and hub_folder(source) is not None
    return source if is_hub else None


def _scores(rows: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    return (row for row in rows if not row["family"] and row["split"] == "test")


def _score_table(scores: list[Mapping[str, Any]]) -> str:
    if not scores:
        return "The run has no result yet: it has not been tested."
    lines = [
        "Of the run's own test, one seed; percent (CIDEr x 100).",
        "",
        "| metric | score | always the most frequent answer | examples |",
        "|---|--:|--:|--:|",
    ]
    for row in scores:
        majority = "" if row["majority"] is None else f"{row['majority']:.2f}"
        value = "" if row["value"] is None else f"{row['value']:.2f}"
        lines.append(f"| {row['metric']} | {value} | {majority} | {row['n_examples']:,} |")
    return "\n".join(lines)


def _library(backbone: BackboneCard, format: str) -> str:
    """What loads the folder."""
    if format == "adapter" or backbone.kind == "lite0-smollm2":
        return "vlbench"
    return "peft" if format == "peft" else "transformers"


def _loading(backbone: BackboneCard, format: str, name: str, spec: RunSpec) -> str:
    """Instructions that can be typed where the folder lies."""
    if format == "adapter":
        task = f" --task {spec.tasks[0].name}" if len(spec.tasks) > 1 else ""
        command = (
            f"vlbench predict {shlex.quote(f'./{name}')}{task} --image a.png --text 'what is it?'"
        )
        return (
            f"```\n{command}\n```\n\n`adapter.safetensors` holds all tensors that were trained, "
            "`spec.json` what they are put on: backbone, method and tasks."
        )
    if backbone.kind == "lite0-smollm2":
        return (
            f"`{backbone.name}` is put together by vlbench, and no class of transformers loads it: "
            "`vlbench predict` answers from the run itself."
        )
    model, processor = CLASSES.get(backbone.kind, OF_TEXT)
    folder = json.dumps(name)
    variable = "processor" if processor == "AutoProcessor" else "tokenizer"
    if format == "peft":
        code = (
            "from peft import PeftConfig, PeftModel\n"
            f"from transformers import {model}\n\n"
            f"base = PeftConfig.from_pretrained({folder}).base_model_name_or_path\n"
            f"model = PeftModel.from_pretrained({model}.from_pretrained(base), {folder})"
        )
    else:
        code = (
            f"from transformers import {model}, {processor}\n\n"
            f"model = {model}.from_pretrained({folder})\n"
            f"{variable} = {processor}.from_pretrained({folder})"
        )
    text = f"```python\n{code}\n```"
    if backbone.kind != "chat":
        text += (
            "\n\nThis is the language model. What turns pictures into its states lies beside it in "
            "`visual.safetensors`, and no class of transformers reads that: `vlbench predict` "
            "answers questions about pictures, from the run itself."
        )
    return text


def _data_lines(spec: RunSpec) -> Iterable[str]:
    for card in spec.tasks:
        parts = [f"- {card.title} (`{card.name}`): {spec.edition} edition"]
        if spec.edition == "mini":
            parts.append("pictures and texts that vlbench generates")
        else:
            parts += filter(None, (card.source, card.published))
        cut = f", at most {spec.limit} examples a split" if spec.limit else ""
        yield f"{'; '.join(parts)}{cut}; fingerprint {spec.data[card.name][:12]}."
    train = spec.method.train
    epochs = f"{train.epochs} epoch{'s' * (train.epochs > 1)}"
    recipe = f"batches of {train.batch_size}, learning rate {train.learning_rate:g}"
    trained = (
        f"Trained for {epochs}: {recipe}, seed {spec.seed}." if train.epochs else "Not trained."
    )
    yield f"- {trained}"
    if spec.init:
        yield f"- It began from the weights in {Path(spec.init).name}, whose licence is not known."
