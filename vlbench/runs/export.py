"""A trained model for other programs: an adapter of peft, or a merged folder of transformers."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from safetensors.torch import save_file
from torch import Tensor, nn

from vlbench.backbones import build_tokenizer, find_backbone
from vlbench.backbones.encoder_decoder import EncoderDecoder
from vlbench.backbones.sources import CONFIG_FILE, weights_folder
from vlbench.checkpoints.weights import load_weights
from vlbench.errors import UsageError
from vlbench.files import temporary_beside, writing
from vlbench.runs.plan import adapted
from vlbench.runs.spec import RunSpec
from vlbench.techniques.adapt import AdaptedModel, trained_parameters
from vlbench.techniques.lora import LoRA, Update
from vlbench.techniques.peft import Peft, library
from vlbench.tensors import listed

Format = Literal["peft", "merged"]
VISUAL_FILE = "visual.safetensors"
"""The visual embedding of an encoder-decoder, which its library's model does not have."""
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json")
INSIDE = ".base_layer"
"""In the name of a layer's own weights, where peft wraps it."""
BEFORE = "base_model.model."
"""In front of every name in a file of peft."""


def trained_model(spec: RunSpec, weights: Path) -> AdaptedModel:
    """The run's model with the tensors that it trained, all of them in fp32."""
    if spec.encoder:
        raise UsageError(
            f"{spec.name}: it reads features of '{spec.encoder}', and only models that read their "
            "backbone's own are exported."
        )
    train = spec.method.train.model_copy(update={"weights": "fp32"})
    method = spec.method.model_copy(update={"train": train})
    model = adapted(spec.model_copy(update={"method": method}))
    load_weights(weights, model, f"{spec.method.name} on {spec.backbone}")
    return model.eval()


def export(spec: RunSpec, weights: Path, what: str, task: str | None, out: Path) -> None:
    """Write a run's model as a new folder; UsageError where the format cannot hold it.

    `task`: whose weights are taken, where each has its own.
    """
    if what not in get_args(Format):
        raise UsageError(f"--format {what}: Should be {' or '.join(get_args(Format))}.")
    if out.exists():
        raise UsageError(f"--out {out}: there already; nothing is overwritten.")
    model = trained_model(spec, weights)
    task = _task(model, task)
    write = _write_peft if what == "peft" else _write_merged
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = temporary_beside(out)
        try:
            beside.mkdir()
            write(model, task, spec, beside)
            if isinstance(model.backbone, EncoderDecoder):
                state = model.backbone.visual.state_dict()
                visual = {name: tensor.contiguous() for name, tensor in state.items()}
                save_file(visual, beside / VISUAL_FILE, {"format": "pt"})
            beside.rename(out)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _task(model: AdaptedModel, task: str | None) -> str:
    tasks = model.technique.tasks
    if task is not None and task not in tasks:
        raise UsageError(f"--task {task}: the run has {', '.join(tasks)}.")
    if task is None and len(tasks) > 1 and model.technique.sharing != "all":
        raise UsageError(
            f"Each task has weights of its own: --task says whose ({', '.join(tasks)})."
        )
    return task or tasks[0]


def _write_peft(model: AdaptedModel, task: str, spec: RunSpec, folder: Path) -> None:
    """An adapter that `PeftModel.from_pretrained` puts on the backbone's own weights."""
    config, tensors = _lora(model, task)
    language = model.backbone.language
    wrapped = set(config.target_modules)
    names = {parameter: name for name, parameter in language.named_parameters()}
    technique = {*model.technique.parameters()}
    left_over = []
    for name, parameter in trained_parameters(model).items():
        own = names.get(parameter, "")
        if own.endswith(".bias") and config.bias == "all":
            path = own.removesuffix(".bias")
            inside = INSIDE if path in wrapped else ""
            tensors[f"{BEFORE}{path}{inside}.bias"] = parameter.detach()
        elif own and parameter not in technique:
            left_over.append(name)
    if left_over:
        raise UsageError(
            f"--format peft: {spec.name} also trained {listed(left_over)}, which an adapter of "
            "peft does not hold: --format merged."
        )
    config.base_model_name_or_path = str(find_backbone(spec.backbone_reference).source_of())
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
        params = technique.params
        for site in technique.claims(model.backbone):
            update = technique.sites[site.name]
            assert isinstance(update, Update)
            for half, layer in (("A", update.down.of(task)), ("B", update.up.of(task))):
                name = f"{BEFORE}{paths[site.module]}.lora_{half}.weight"
                tensors[name] = layer.get_parameter("weight")
        config = library().LoraConfig(
            r=params.rank,
            lora_alpha=params.alpha,
            lora_dropout=params.dropout,
            target_modules=[paths[site.module] for site in technique.claims(model.backbone)],
            bias="all" if params.biases else "none",
        )
        return config, tensors
    if isinstance(technique, Peft) and technique.params.config == "LoraConfig":
        config = technique.config(model.backbone)
        tensors = {
            BEFORE + name.replace(".default", ""): parameter
            for name, parameter in language.named_parameters()
            if ".default" in name
        }
        ends = ".lora_A.weight", ".lora_embedding_A"
        config.target_modules = sorted(
            name.removeprefix(BEFORE).removesuffix(end)
            for name in tensors
            for end in ends
            if name.endswith(end)
        )
        return config, tensors
    raise UsageError(
        f"--format peft: peft has no '{type(technique).__name__}'. LoRA is exported, `lora` with "
        "any sharing and `peft-lora`."
    )


def _write_merged(model: AdaptedModel, task: str, spec: RunSpec, folder: Path) -> None:
    """The model of the transformers library with all that was trained in its own weights."""
    language = model.backbone.language
    if not model.technique.merges:
        raise UsageError(
            f"--format merged: '{type(model.technique).__name__}' adds layers that a model of the "
            "transformers library does not have. What trains the model's own weights can be "
            "merged, and LoRA, whose products are added to them."
        )
    with model.answering(task):
        for module in language.modules():
            if hasattr(module, "merge") and hasattr(module, "base_layer"):
                module.merge()
        language.save_pretrained(folder, state_dict=_plain(language))
    path = Path(spec.backbone_path) if spec.backbone_path else None
    card = find_backbone(spec.backbone_reference)
    if card.kind != "chat":
        build_tokenizer(spec.backbone_reference, path).save_pretrained(folder)
        return
    source = weights_folder(path or card.source_of())
    heavy = {file for pattern in WEIGHTS for file in source.glob(pattern)}
    for file in source.iterdir():
        if file.is_file() and file not in heavy and file.name != CONFIG_FILE:
            shutil.copyfile(file, folder / file.name)


def _plain(language: nn.Module) -> Mapping[str, Tensor]:
    """The state without the names and tensors of layers that peft put around others."""
    return {
        name.replace(INSIDE, ""): tensor
        for name, tensor in language.state_dict().items()
        if ".default" not in name
    }
