"""`vlbench doctor`: what a run needs of a machine, what is missing, and what mends it."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, get_args

from vlbench.backbones import VISUALS, Visual, backbone_row
from vlbench.cards.load import all_tasks
from vlbench.cards.schema import Edition
from vlbench.config import SlurmSettings, config_files, load_config
from vlbench.data.mini.edition import NAMES
from vlbench.data.readers import load_reader
from vlbench.encoders import load_encoder
from vlbench.errors import CardError, DataError, MissingError, UsageError, VlbenchError, nearest
from vlbench.files import cache_place
from vlbench.metrics.java import require_java
from vlbench.runs.launch import LAUNCHERS
from vlbench.runs.lock import DEAD_SECONDS, NO_LOCKS

EDITIONS: tuple[str, ...] = get_args(Edition)
PACKAGES = (
    *("torch", "transformers", "accelerate", "tokenizers", "safetensors"),
    *("pycocoevalcap", "numpy", "pandas", "pyarrow", "pillow"),
)
EXTRAS = {
    "peft": ("peft", "for the methods that need it"),
    "h5py": ("hdf5", "for feature stores in HDF5"),
    "efficientnet-lite-pytorch": ("efficientnet", "for the encoder efficientnet-lite0"),
    "easy-vqa": ("easy-vqa", "for the task easy-vqa"),
    "submitit": ("slurm", "for --launcher slurm"),
    "timm": ("clip-resnet", "for the encoders clip-rn50 and clip-rn101, in an own environment"),
}
"""Package -> the extra that brings it, and what it is for."""
COMMANDS = ("sbatch", "squeue", "sinfo", "scancel")
SECONDS = 10
FREE_BYTES = 2_000_000_000
GIGABYTE = 1e9


class Finding(NamedTuple):
    """One thing that was looked for."""

    what: str
    is_there: bool
    found: str
    remedy: str = ""
    """What mends it, as one would type it where there is a command."""
    is_needed: bool = True
    """Whether the default run needs it."""


def examine(
    root: Path | None,
    edition: str | None,
    results: Path,
    launcher: str,
    backbone: str = "mini-bart",
    backbone_path: Path | None = None,
) -> list[Finding]:
    """Look for everything that runs with these options need."""
    for option, value, known in (("edition", edition, EDITIONS), ("launcher", launcher, LAUNCHERS)):
        if value is not None and value not in known:
            raise UsageError(f"--{option} {value}: {nearest(value, known)}")
    backbone_row(backbone)
    root = root.expanduser().absolute() if root else None
    files = ", ".join(map(str, config_files()))
    try:
        slurm = load_config().slurm
        configuration = Finding("configuration", True, files or "no file, which is fine")
    except CardError as error:
        slurm = SlurmSettings()
        configuration = Finding("configuration", False, files, "; ".join(str(error).splitlines()))
    is_slurm = launcher == "slurm"
    return [
        Finding("Python", True, f"{platform.python_version()}, {sys.executable}"),
        *(_package(name, f"pip install {name}") for name in PACKAGES),
        *(find_models(), _java(), *_devices(), configuration),
        *_backbone(backbone, backbone_path, root),
        # a faulty configuration may name the cache
        *((_cache(), _data(root, edition)) if configuration.is_there else ()),
        *(_results(results), find_locks(results)),
        *_extras(needed={"submitit"} if is_slurm else ()),
        _slurm(slurm, is_needed=is_slurm),
    ]


def _package(name: str, remedy: str, is_needed: bool = True) -> Finding:
    try:
        return Finding(name, True, version(name), "", is_needed)
    except PackageNotFoundError:
        return Finding(name, False, "", remedy, is_needed)


def _extras(needed: Collection[str]) -> list[Finding]:
    """Packages that are installed on request; `needed` are those that this default run needs."""
    return [
        _package(name, f"pip install 'vlbench[{extra}]', {purpose}", name in needed)
        for name, (extra, purpose) in EXTRAS.items()
    ]


def find_models() -> Finding:
    """Import a model: a torchvision of another build breaks transformers."""
    try:
        from transformers import BartForConditionalGeneration  # noqa: F401
    except Exception as error:  # whatever an import can raise
        reason = str(error).strip().splitlines()[-1:]
        remedy = (
            f"torch and transformers do not work together: {' '.join(reason) or repr(error)} "
            "A torchvision of another build is a usual cause: pip uninstall torchvision"
        )
        return Finding("models", False, "", remedy)
    return Finding("models", True, "torch and transformers work together")


def _java() -> Finding:
    """Tokenize and score a caption."""
    try:
        from vlbench.metrics.captions import running_meteor, tokenize

        with running_meteor() as scorer:
            tokens = {"tried": tokenize(["A dog."])}
            scorer.compute_score(tokens, tokens)
    except (VlbenchError, ImportError, OSError) as error:
        return Finding("Java", False, "", str(error))
    return Finding("Java", True, f"{require_java()}, scores a caption")


def _devices() -> list[Finding]:
    """The CPU, and each GPU, or one finding that says why there is none."""
    try:
        import torch
    except Exception as error:  # a library that does not load is no ImportError
        return [Finding("CPU", False, "", f"torch cannot be imported: {error}; pip install torch")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIGABYTE
    cpu = Finding("CPU", True, f"{torch.get_num_threads()} threads, {memory:.1f} GB of memory")
    if pretended := os.environ.get("VLBENCH_FAKE_GPUS"):
        text = f"VLBENCH_FAKE_GPUS={pretended} pretends some: runs use the CPU"
        return [cpu, Finding("GPU", True, text, is_needed=False)]
    gpus = [_gpu(torch, number) for number in range(torch.cuda.device_count())]
    return [cpu, *(gpus or [Finding("GPU", False, "", _why_no_gpu(torch), is_needed=False)])]


def _gpu(torch: Any, number: int) -> Finding:
    gpu = torch.cuda.get_device_properties(number)
    text = f"{gpu.name}, {gpu.total_memory / GIGABYTE:.1f} GB"
    return Finding(f"GPU {number}", True, text, is_needed=False)


def _why_no_gpu(torch: Any) -> str:
    if not Path("/dev/nvidia0").exists() and shutil.which("nvidia-smi") is None:
        return "none found: runs use the CPU, which is enough for the mini edition"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA: pip install a build with it"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return f"torch sees none with CUDA_VISIBLE_DEVICES={visible}: unset CUDA_VISIBLE_DEVICES"
    return f"torch is built for CUDA {torch.version.cuda} and sees none: look at nvidia-smi"


def _backbone(name: str, path: Path | None, root: Path | None) -> list[Finding]:
    """The weights of a backbone, and what it reads pictures and clips with."""
    from huggingface_hub.constants import HF_HUB_CACHE

    row = backbone_row(name)
    encoders = {visual: row.features[visual].encoder for visual in VISUALS}
    return [
        _weights(name, row.source, path, HF_HUB_CACHE),
        *(
            _encoder(encoder, visual, root, HF_HUB_CACHE)
            for visual, encoder in encoders.items()
            if encoder != "mini"
        ),
    ]


def _weights(name: str, source: str, path: Path | None, hub: str) -> Finding:
    from vlbench.backbones.weights import WEIGHTS, weights_folder

    what = f"weights of {name}"
    try:
        folder = weights_folder(path.expanduser().absolute() if path else source)
    except MissingError as error:
        where = "" if path else f" Looked for in the Hugging Face cache, {hub}."
        return Finding(what, False, "", f"{error}{where}")
    if not any(file for pattern in WEIGHTS for file in folder.glob(pattern)):
        remedy = f"{folder} has no {' or '.join(WEIGHTS)}: hf download {source}"
        return Finding(what, False, "", remedy)
    return Finding(what, True, str(folder))


def _encoder(encoder: str, visual: Visual, root: Path | None, hub: str) -> Finding:
    """Features, or the encoder that makes them; the default run has pictures alone."""
    from vlbench.data.prepare import feature_places

    what, is_needed = f"features of {encoder}", visual == "image"
    readers = [
        load_reader(card.reader, root) for card in all_tasks() if root and card.visual == visual
    ]
    stores = {store for reader in readers for store in feature_places(reader, encoder)}
    if existing := sorted(store for store in stores if store.exists()):
        return Finding(what, True, ", ".join(map(str, existing)), "", is_needed)
    try:
        load_encoder(encoder)
    except (MissingError, DataError) as error:
        where = f"no feature store below {root}" if root else "no --root with feature stores"
        remedy = f"{where}, and none can be made: {error} Looked for in {hub}."
        return Finding(what, False, "", remedy, is_needed)
    return Finding(what, True, "made at the first run, by the encoder", "", is_needed)


def _cache() -> Finding:
    folder, source = cache_place()
    size = sum(_size(Path(parent) / name) for parent, _, names in os.walk(folder) for name in names)
    details = f"{size / GIGABYTE:.1f} GB in it" if folder.is_dir() else "not made yet"
    return _folder("cache", folder, f"{details}, {source}", "VLBENCH_CACHE names another place")


def _size(file: Path) -> int:
    try:
        return file.lstat().st_size
    except OSError:  # gone meanwhile
        return 0


def _results(folder: Path) -> Finding:
    count = sum(1 for _ in folder.glob("runs/*/spec.json"))
    details = f"{count} run{'s' * (count != 1)}" if folder.is_dir() else "not made yet"
    return _folder("results", folder.absolute(), details, "--results names another folder")


def _folder(what: str, folder: Path, details: str, otherwise: str) -> Finding:
    """A folder that must be writable and have room, whether it is made already or not."""
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            free = shutil.disk_usage(_existing(folder)).free
    except OSError as error:
        return Finding(what, False, "", f"{folder}: cannot write: {error.strerror}; {otherwise}")
    text = f"{folder}, {details}, {free / GIGABYTE:.1f} GB free"
    remedy = f"{folder} has {free / GIGABYTE:.1f} GB free, which is too little: {otherwise}"
    return Finding(what, free > FREE_BYTES, text, "" if free > FREE_BYTES else remedy)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(parent for parent in (folder, *folder.parents) if parent.exists())


def find_locks(folder: Path) -> Finding:
    """Whether two processes can lock each other out of a run there."""
    try:
        with tempfile.NamedTemporaryFile(dir=_existing(folder), prefix=".lock-") as first:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with open(first.name, "rb") as second:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Finding("locks", True, "work in the results folder", is_needed=False)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            remedy = f"could not be tried in the results folder: {error.strerror}"
            return Finding("locks", False, "", remedy, is_needed=False)
    remedy = (
        "none in the results folder: heartbeats claim its runs, and a run whose worker died is "
        f"taken over after {DEAD_SECONDS:.0f} s; --results on another file system is quicker"
    )
    return Finding("locks", False, "", remedy, is_needed=False)


def _data(root: Path | None, edition: str | None) -> Finding:
    """The annotation files of the tasks; `vlbench data check` reads them."""
    if root is None and edition == "full":
        remedy = "the edition full reads the official files: --root says where they lie"
        return Finding("data", False, "", remedy)
    if root is None:
        visuals = [visual for visual, name in NAMES.items() if (cache_place()[0] / name).is_dir()]
        text = f"made: {', '.join(visuals)}" if visuals else "made in the cache on first use"
        return Finding("data", True, f"the mini edition, {text}")
    if not root.is_dir():
        return Finding("data", False, "", f"{root}: no such folder; --root says where the data lie")
    edition = edition or "mini"
    counts = _counts(root, edition)
    complete = [name for name, (present, wanted) in counts.items() if present == wanted]
    partly = [
        f"{name} ({present} of {wanted} files)"
        for name, (present, wanted) in counts.items()
        if 0 < present < wanted
    ]
    text = f"{root}, edition {edition}: {', '.join(complete) or 'no task'} complete"
    more = f"vlbench data check --edition {edition} --root {root} tells each file"
    if partly:
        text += f"; {', '.join(partly)}: {more}"
    if complete:
        return Finding("data", True, text)
    remedy = f"{root}: no task of the edition {edition} is complete; {more}"
    other = "mini" if edition == "full" else "full"
    if any(present == wanted for present, wanted in _counts(root, other).values()):
        remedy += f"; the edition {other} is there: --edition {other}"
    return Finding("data", False, text, remedy)


def _counts(root: Path, edition: str) -> dict[str, tuple[int, int]]:
    """Task -> how many of the annotation files that a run reads are there, and how many it has."""
    counts = {}
    for card in all_tasks():
        reader = load_reader(card.reader, root)
        if edition in card.splits and not reader.is_packaged:
            splits = next(splits for name, splits in card.splits.items() if name == edition)
            names = (*splits.train, *splits.val, *splits.test)
            files = {file for split in names for file in reader.files(split)}
            counts[card.name] = (sum(file.is_file() for file in files), len(files))
    return counts


def _slurm(settings: SlurmSettings, is_needed: bool) -> Finding:
    """Whether jobs could be submitted from here, to the partition of the settings."""
    try:
        if missing := [name for name in COMMANDS if shutil.which(name) is None]:
            raise OSError(f"no {', '.join(missing)} on PATH: only for --launcher slurm, on a node")
        partitions = _partitions()
    except OSError as error:
        return Finding("Slurm", False, "", str(error), is_needed)
    for name in (settings.partition or "").split(","):
        if name and name not in partitions:
            remedy = f"[slurm] partition: no partition '{name}'. {nearest(name, partitions)}"
            return Finding("Slurm", False, "", remedy, is_needed)
    return Finding("Slurm", True, f"partitions: {', '.join(partitions)}", "", is_needed)


def _partitions() -> list[str]:
    """The partitions; OSError where Slurm does not answer."""
    command = ["sinfo", "--noheader", "--format=%R"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        if answer.returncode == 0:
            return list(dict.fromkeys(answer.stdout.split()))
        reason = (answer.stderr.strip() or "it failed").splitlines()[-1]
    except (OSError, subprocess.TimeoutExpired) as error:
        is_late = isinstance(error, subprocess.TimeoutExpired)
        reason = f"nothing within {SECONDS} s" if is_late else str(error)
    raise OSError(f"sinfo does not answer: {reason}; --launcher slurm needs a running Slurm")
