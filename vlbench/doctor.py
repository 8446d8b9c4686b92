"""`vlbench doctor`: what a run needs of a machine, what is missing, and the remedy."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, NamedTuple, get_args

from vlbench.backbones import VISUALS, Visual, backbone_row
from vlbench.cards.load import all_tasks
from vlbench.cards.schema import Edition
from vlbench.config import config_files, load_config
from vlbench.data.mini.write import NAMES
from vlbench.data.readers import load_reader
from vlbench.encoders import load_encoder
from vlbench.errors import MissingError, UsageError, VlbenchError, nearest
from vlbench.files import cache_place
from vlbench.lock import DEAD_SECONDS, NO_LOCKS
from vlbench.metrics.java import require_java
from vlbench.runs.launch import LAUNCHERS

EDITIONS: tuple[str, ...] = get_args(Edition)
COMMANDS = ("sbatch", "squeue", "sinfo", "scancel")
SECONDS = 10
FREE_BYTES = 2_000_000_000
Check = Callable[[], str]
GIGABYTE = 1e9


class Finding(NamedTuple):
    """One part of the machine that was checked."""

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
    """Check everything that runs with these options need."""
    for option, value, known in (("edition", edition, EDITIONS), ("launcher", launcher, LAUNCHERS)):
        if value is not None and value not in known:
            raise UsageError(f"--{option} {value}: {nearest(value, known)}")
    row = backbone_row(backbone)
    root = root.expanduser().absolute() if root else None
    encoders = {row.features[visual].encoder: visual for visual in reversed(VISUALS)}
    encoders.pop("mini", None)
    extras = _packages(of_extras=True)
    optional = {"locks", "Slurm", *extras}
    optional |= {f"features of {name}" for name, visual in encoders.items() if visual == "video"}
    optional -= {"Slurm", "submitit"} if launcher == "slurm" else set()
    checks: dict[str, Check] = {
        "Python": lambda: f"{platform.python_version()}, {sys.executable}",
        **_packages(),
        "models": _models,
        "Java": _java,
        "configuration": _configuration,
        f"weights of {backbone}": partial(_weights, row.source, backbone_path),
        **{f"features of {name}": partial(_encoder, name, v, root) for name, v in encoders.items()},
        "cache": _cache,
        "data": partial(_data, root, edition),
        "results": partial(_results, results),
        "locks": partial(_locks, results),
        **extras,
        "Slurm": _slurm,
    }
    return [
        *_devices(),
        *(_run(what, check, what not in optional) for what, check in checks.items()),
    ]


def _run(what: str, check: Check, is_needed: bool) -> Finding:
    """Run a check: it returns what it found, or raises an error that names the remedy."""
    try:
        return Finding(what, True, check(), "", is_needed)
    except (VlbenchError, ImportError, OSError) as error:
        return Finding(what, False, "", "; ".join(str(error).splitlines()), is_needed)


def _packages(of_extras: bool = False) -> dict[str, Check]:
    """A check for each package that vlbench requires, or that its extras do."""
    checks: dict[str, Check] = {}
    for requirement in requires("vlbench") or ():
        (name,) = re.findall(r"^[\w.-]+", requirement)
        extra = "".join(re.findall(r"extra == ['\"](\S+)['\"]", requirement))
        if extra != "dev" and bool(extra) == of_extras:
            remedy = f"pip install 'vlbench[{extra}]'" if extra else f"pip install {name}"
            checks[name] = partial(_version, name, remedy)
    return checks


def _version(name: str, remedy: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        raise MissingError(remedy) from None


def _models() -> str:
    """Import a model: a torchvision of another build breaks transformers."""
    try:
        from transformers import BartForConditionalGeneration  # noqa: F401
    except Exception as error:  # whatever an import can raise
        reason = (str(error).strip().splitlines() or [repr(error)])[-1]
        raise MissingError(
            f"torch and transformers do not work together: {reason} "
            "A torchvision of another build is a usual cause: pip uninstall torchvision"
        ) from None
    return "torch and transformers work together"


def _java() -> str:
    """Tokenize and score a caption."""
    from vlbench.metrics.java import one_meteor, tokenize

    tokens = tokenize(["A dog."])
    with one_meteor() as meteor:
        meteor.score([tokens], tokens)
    return f"{require_java()}, scores a caption"


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
    gpus = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
    sizes = [f"{gpu.name}, {gpu.total_memory / GIGABYTE:.1f} GB" for gpu in gpus]
    findings = [Finding(f"GPU {n}", True, text, "", False) for n, text in enumerate(sizes)]
    return [cpu, *(findings or [Finding("GPU", False, "", why_no_gpu(torch), False)])]


def why_no_gpu(torch: Any) -> str:
    """What torch and the environment say where no GPU is seen."""
    built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = "" if visible is None else f"; unset CUDA_VISIBLE_DEVICES={visible}, which hides GPUs"
    return (
        "none seen: runs use the CPU, which is enough for the mini edition. Where nvidia-smi shows "
        f"one: torch {torch.__version__} is built {built}{hidden}"
    )


def _configuration() -> str:
    load_config()
    return ", ".join(map(str, config_files())) or "no file, which is fine"


def _weights(source: str, path: Path | None) -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    from vlbench.backbones.weights import WEIGHTS, weights_folder

    try:
        folder = weights_folder(path.expanduser().absolute() if path else source)
    except MissingError as error:
        where = "" if path else f" Looked for in the Hugging Face cache, {HF_HUB_CACHE}."
        raise MissingError(f"{error}{where}") from None
    if not any(file for pattern in WEIGHTS for file in folder.glob(pattern)):
        raise MissingError(f"{folder} has no {' or '.join(WEIGHTS)}: hf download {source}")
    return str(folder)


def _encoder(encoder: str, visual: Visual, root: Path | None) -> str:
    """Features, or the encoder that makes them."""
    from huggingface_hub.constants import HF_HUB_CACHE

    from vlbench.data.prepare import feature_places

    readers = [
        load_reader(card.reader, root) for card in all_tasks() if root and card.visual == visual
    ]
    stores = {store for reader in readers for store in feature_places(reader, encoder)}
    if existing := sorted(store for store in stores if store.exists()):
        return ", ".join(map(str, existing))
    try:
        load_encoder(encoder)
    except MissingError as error:
        where = f"no feature store below {root}" if root else "no --root with feature stores"
        raise MissingError(
            f"{where}, and none can be made: {error} Looked for in {HF_HUB_CACHE}."
        ) from None
    return "made at the first run, by the encoder"


def _cache() -> str:
    folder, source = cache_place()
    return _writable(folder, source, "VLBENCH_CACHE names another place")


def _results(folder: Path) -> str:
    count = sum(1 for _ in folder.glob("runs/*/spec.json"))
    runs = f"{count} run{'s' * (count != 1)}"
    return _writable(folder.absolute(), runs, "--results names another folder")


def _writable(folder: Path, details: str, otherwise: str) -> str:
    """A folder that must be writable and have room, whether it is made already or not."""
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            free = shutil.disk_usage(_existing(folder)).free
    except OSError as error:
        raise MissingError(f"{folder}: cannot write: {error.strerror}; {otherwise}") from None
    room = f"{free / GIGABYTE:.1f} GB free"
    if free <= FREE_BYTES:
        raise MissingError(f"{folder} has {room}, which is too little: {otherwise}")
    return f"{folder}, {details}, {room}"


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _locks(folder: Path) -> str:
    """Whether two processes can lock each other out of a run in the results folder."""
    try:
        with tempfile.NamedTemporaryFile(dir=_existing(folder), prefix=".lock-") as first:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with open(first.name, "rb") as second:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "work in the results folder"
    except OSError as error:
        if error.errno not in NO_LOCKS:
            reason = f"could not be tried in the results folder: {error.strerror}"
            raise MissingError(reason) from None
    raise MissingError(
        "none in the results folder: heartbeats claim its runs, and a run whose worker died is "
        f"taken over after {DEAD_SECONDS:.0f} s; --results on another file system is quicker"
    )


def _data(root: Path | None, edition: str | None) -> str:
    """The annotation files of the tasks; `vlbench data check` reads them."""
    if root is None and edition == "full":
        raise MissingError("the edition full reads the official files: --root says where they lie")
    if root is None:
        visuals = [visual for visual, name in NAMES.items() if (cache_place()[0] / name).is_dir()]
        state = f"made: {', '.join(visuals)}" if visuals else "made in the cache on first use"
        return f"the mini edition, {state}"
    if not root.is_dir():
        raise MissingError(f"{root}: no such folder; --root says where the data lie")
    edition = edition or "mini"
    complete = {name: _complete(root, name) for name in EDITIONS}
    tasks = "; ".join(f"{name}: {', '.join(names) or 'none'}" for name, names in complete.items())
    text = f"{root}, tasks with all files of the edition {tasks}"
    if not complete[edition]:
        check = f"vlbench data check --edition {edition} --root {root} tells each file"
        raise MissingError(f"{text}; {check}; --edition names another edition")
    return text


def _complete(root: Path, edition: str) -> list[str]:
    """Tasks whose annotation files that a run reads are all there."""
    complete = []
    for card in all_tasks():
        reader = load_reader(card.reader, root)
        if reader.is_packaged:
            continue
        for splits in (splits for name, splits in card.splits.items() if name == edition):
            names = (*splits.train, *splits.val, *splits.test)
            if all(file.is_file() for split in names for file in reader.files(split)):
                complete.append(card.name)
    return complete


def _slurm() -> str:
    """Whether jobs could be submitted from here, to the partition of the configuration."""
    if missing := [name for name in COMMANDS if shutil.which(name) is None]:
        reason = f"no {', '.join(missing)} on PATH: only for --launcher slurm, on a node of Slurm"
        raise MissingError(reason)
    command = ["sinfo", "--noheader", "--format=%R"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=True
        )
    except subprocess.SubprocessError as error:
        words = getattr(error, "stderr", "") or f"nothing within {SECONDS} s"
        reason = str(words).strip().splitlines()[-1]
        raise MissingError(f"sinfo does not answer: {reason}; is Slurm running?") from None
    partitions = list(dict.fromkeys(answer.stdout.split()))
    for name in (load_config().slurm.partition or "").split(","):
        if name and name not in partitions:
            raise MissingError(
                f"[slurm] partition: no partition '{name}'. {nearest(name, partitions)}"
            )
    return f"partitions: {', '.join(partitions)}"
