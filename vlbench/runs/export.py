"""A trained model to pass on: an adapter of vlbench or peft, or a merged folder of transformers.

Beside each lies a model card.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from vlbench.backbones import build_backbone, build_tokenizer, find_backbone, weights_files
from vlbench.backbones.chat import Chat
from vlbench.backbones.sources import CONFIG_FILE, WEIGHTS
from vlbench.cards.backbone import Features
from vlbench.errors import UsageError
from vlbench.files import temporary_beside, writing
from vlbench.runs.model_card import model_card
from vlbench.runs.plan import adapted
from vlbench.runs.spec import RunSpec
from vlbench.runs.sums import SPEC
from vlbench.runs.sums import WEIGHTS as RUN_WEIGHTS
from vlbench.runs.trained import features_of, trained_model
from vlbench.techniques.adapt import AdaptedModel, trained_parameters
from vlbench.techniques.lora import LoRA, Update
from vlbench.techniques.peft import Peft, library, refusing
from vlbench.tensors import listed

VISUAL_FILE = "visual.safetensors"
"""The visual embedding of an encoder-decoder, which the model of its library does not have."""
BASE_LAYER = ".base_layer"
"""In the name of a layer's own weights, where peft wraps it."""
PEFT_PREFIX = "base_model.model."
"""In front of every name in a file of peft."""
HALVES = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector")
"""What peft's LoRA adds to a layer."""


def export(
    spec: RunSpec,
    weights: Path,
    format: str,
    task: str | None,
    out: Path,
    rows: Iterable[Mapping[str, Any]] = (),
) -> None:
    """Write a run's model as a new folder; UsageError where the format cannot hold it.

    `weights` are the run's trained tensors; `format` is merged, peft or adapter; `task` says whose
    weights are taken, where each task has its own and the format holds one; `rows` of the run's
    result go into the model card.
    """
    if out.exists():
        raise UsageError(f"--out {out}: exists. Name a new folder.")
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = temporary_beside(out)
        try:
            beside.mkdir()
            whose = ""
            if format == "adapter":
                _write_adapter(spec, weights, task, beside)
            else:
                whose = _write_model(spec, weights, format, task, beside)
            card = model_card(spec, format, whose, out.name, rows)
            (beside / "README.md").write_text(card, encoding="utf-8")
            beside.rename(out)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _write_adapter(spec: RunSpec, weights: Path, task: str | None, folder: Path) -> None:
    """Write what `vlbench predict` reads: the weights of all tasks."""
    if task is not None:
        raise UsageError(
            f"--task {task}: an adapter holds the weights for all tasks. Leave it out."
        )
    shutil.copyfile(weights, folder / RUN_WEIGHTS)
    (folder / SPEC).write_text(spec.to_json(), encoding="utf-8")


def _write_model(spec: RunSpec, weights: Path, format: str, task: str | None, folder: Path) -> str:
    """Write what peft or transformers loads; return the task, if the weights are of one alone."""
    features = features_of(spec, weights)
    shapes = adapted(spec, features, meta=True)
    task = _task(shapes, task)
    _check_format(shapes, spec, format)
    train = spec.method.train.model_copy(update={"weights": "fp32"})
    method = spec.method.model_copy(update={"train": train})
    model = trained_model(spec.model_copy(update={"method": method}), weights)
    if format == "peft":
        _write_peft(model, task, spec, folder)
    else:
        _write_merged(model, task, spec, features, folder)
    if not isinstance(model.backbone, Chat):
        _write_visual(model, folder)
    is_own = len(spec.tasks) > 1 and model.technique.sharing != "all"
    return task if is_own else ""


def _task(shapes: AdaptedModel, task: str | None) -> str:
    tasks = shapes.technique.tasks
    if task is not None and task not in tasks:
        raise UsageError(f"--task {task}: the run has {', '.join(tasks)}.")
    if task is None and len(tasks) > 1 and shapes.technique.sharing != "all":
        raise UsageError(
            f"Each task has weights of its own: --task says whose ({', '.join(tasks)})."
        )
    return task or tasks[0]


def _check_format(shapes: AdaptedModel, spec: RunSpec, format: str) -> None:
    """Raise UsageError where a format cannot hold what was trained."""
    technique, name = shapes.technique, type(shapes.technique).__name__
    if isinstance(technique, Peft):
        name = technique.params.config
    if format == "merged" and not technique.merges:
        raise UsageError(
            f"--format merged: '{name}' adds layers that transformers models do not have. "
            "Only LoRA, peft tuners that merge and methods that train the model's own weights can "
            "be merged."
        )
    if format == "merged":
        return
    if not isinstance(technique, LoRA) and name != "LoraConfig":
        raise UsageError(f"--format peft: only LoRA is written, and this run used '{name}'.")
    card = find_backbone(spec.backbone_reference)
    if card.kind == "embedded-bart":
        raise UsageError(
            f"--format peft: '{card.name}' is no model that transformers loads, so no adapter fits "
            "it. --format merged writes one."
        )
    if spec.init:
        raise UsageError(
            f"--format peft: the run began from {Path(spec.init).name}, not from the backbone's "
            "own weights, which an adapter is put on. --format merged writes all of them."
        )
    if left_over := _beside_adapter(shapes):
        raise UsageError(
            f"--format peft: {spec.name} also trained {listed(left_over)}, which an adapter of "
            "peft does not hold here. --format merged writes it."
        )


def _beside_adapter(model: AdaptedModel) -> list[str]:
    """Names of what trained in the library's model and is neither LoRA's nor a bias it frees."""
    language, technique = {*model.backbone.language.parameters()}, model.technique
    if isinstance(technique, LoRA):
        own = {*technique.parameters()} | {
            *(model.backbone.biases() if technique.params.biases else [])
        }
        names = trained_parameters(model).items()
        return [name for name, p in names if p in language and p not in own]
    assert isinstance(technique, Peft)
    return [
        name
        for name, p in trained_parameters(model).items()
        if p in language
        and not any(f".{half}." in name for half in HALVES)
        and not (name.endswith(".bias") and technique.config(model.backbone).bias == "all")
    ]


def _write_visual(model: AdaptedModel, folder: Path) -> None:
    """Write the visual embedding, with the rows of the token table that it adds to pictures."""
    backbone: Any = model.backbone
    tensors = {name: tensor.contiguous() for name, tensor in backbone.visual.state_dict().items()}
    rows = backbone.token_embedding[-backbone.visual_tokens :].detach().clone()
    save_file({**tensors, "token_rows": rows}, folder / VISUAL_FILE, {"format": "pt"})


def _write_peft(model: AdaptedModel, task: str, spec: RunSpec, folder: Path) -> None:
    """An adapter that `PeftModel.from_pretrained` puts on the backbone's own weights."""
    config, tensors = _lora(model, task)
    card = find_backbone(spec.backbone_reference)
    base = spec.backbone_path or card.source_of(spec.tasks[0].visual)
    config.base_model_name_or_path = str(base)
    config.inference_mode = True
    config.save_pretrained(folder)
    plain = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(plain, folder / "adapter_model.safetensors", {"format": "pt"})


def _lora(model: AdaptedModel, task: str) -> tuple[Any, dict[str, Tensor]]:
    """The configuration of peft's LoRA, and its tensors by their names in a file of peft."""
    technique, language = model.technique, model.backbone.language
    tensors: dict[str, Tensor] = {}
    if isinstance(technique, LoRA):
        paths = {module: path for path, module in language.named_modules()}
        targets = [paths[site.module] for site in technique.claims(model.backbone)]
        for site in technique.claims(model.backbone):
            update = technique.sites[site.name]
            assert isinstance(update, Update)
            for half, layer in (("A", update.down.of(task)), ("B", update.up.of(task))):
                name = f"{PEFT_PREFIX}{paths[site.module]}.lora_{half}.weight"
                tensors[name] = layer.get_parameter("weight")
        biases = {*model.backbone.biases()} if technique.params.biases else set()
        for name, parameter in language.named_parameters():
            if parameter in biases:
                path = name.removesuffix(".bias")
                inside = BASE_LAYER if path in targets else ""
                tensors[f"{PEFT_PREFIX}{path}{inside}.bias"] = parameter
        config = library().LoraConfig(
            r=technique.params.rank,
            lora_alpha=technique.params.alpha,
            lora_dropout=technique.params.dropout,
            target_modules=targets,
            bias="all" if biases else "none",
        )
        return config, tensors
    assert isinstance(technique, Peft)
    targets = []
    for name, parameter in language.named_parameters():
        path, _, half = name.partition(".lora_")
        if half:
            saved = name.replace("magnitude_vector.default.weight", "magnitude_vector")
            tensors[PEFT_PREFIX + saved.replace(".default", "")] = parameter
            targets.append(path)
        elif parameter.requires_grad:  # a bias, else _check_format has refused
            tensors[PEFT_PREFIX + name] = parameter
    config = technique.config(model.backbone)
    config.target_modules = sorted(set(targets))
    return config, tensors


def _write_merged(
    model: AdaptedModel, task: str, spec: RunSpec, features: Features | None, folder: Path
) -> None:
    """The model of the transformers library with all that was trained in its own weights."""
    language = model.backbone.language
    path = Path(spec.backbone_path) if spec.backbone_path else None
    with model.answering(task):
        for module in language.modules():
            if hasattr(module, "merge") and hasattr(module, "base_layer"):
                with refusing(spec.method.name):
                    module.merge()
        state = {
            name.replace(BASE_LAYER, ""): tensor
            for name, tensor in language.state_dict().items()
            if ".default" not in name
        }
        visual = spec.tasks[0].visual
        shapes = build_backbone(spec.backbone_reference, path, True, visual, features).language
        if others := sorted(state.keys() ^ shapes.state_dict().keys()):
            raise UsageError(
                f"--format merged: what {spec.name} trained is beside the model's own weights: "
                f"{listed(others)}."
            )
        language.save_pretrained(folder, state_dict=state)
    card = find_backbone(spec.backbone_reference)
    if not card.reads_pictures:
        build_tokenizer(spec.backbone_reference, path).save_pretrained(folder)
        return
    for file in weights_files(spec.backbone_reference, path):
        is_weights = any(file.match(pattern) for pattern in (*WEIGHTS, "*.index.json"))
        if not is_weights and file.name != CONFIG_FILE:
            shutil.copyfile(file, folder / file.name)
