"""`vlbench doctor`: what is there, what is missing, and the command that mends it."""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from vlbench.cli.output import print_json, print_table
from vlbench.errors import MissingError

PACKAGES = ("torch", "transformers", "accelerate", "tokenizers", "safetensors", "pycocoevalcap")
EXTRAS = {
    "peft": ("peft", "for the methods that need it"),
    "h5py": ("hdf5", "for feature stores in HDF5"),
    "efficientnet-lite-pytorch": ("efficientnet", "for the encoder efficientnet-lite0"),
    "easy-vqa": ("easy-vqa", "for the task easy-vqa"),
}
"""Package -> the extra that brings it, and what it is for."""
FREE_BYTES = 2_000_000_000


class Finding(NamedTuple):
    """One thing that was looked for."""

    what: str
    is_there: bool
    found: str
    remedy: str
    is_needed: bool = True
    """Whether the default run needs it."""


def doctor(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Look for everything the default run needs; exit 3 when something is missing."""
    findings = [*map(_package, PACKAGES), *map(_extra, EXTRAS), _java(), _devices(), _cache()]
    if json:
        print_json("doctor", [finding._asdict() for finding in findings])
    else:
        rows = [[f.what, _answer(f), f.found if f.is_there else f.remedy] for f in findings]
        print_table(rows, ("what", "there", ""))
    missing = [finding.what for finding in findings if finding.is_needed and not finding.is_there]
    if missing:
        raise MissingError(f"Missing: {', '.join(missing)}. The remedy stands beside each.")


def _answer(finding: Finding) -> str:
    if finding.is_there:
        return "yes"
    return "NO" if finding.is_needed else "no"


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name), "")
    except PackageNotFoundError:
        return Finding(name, False, "", f"pip install {name}")


def _extra(name: str) -> Finding:
    extra, purpose = EXTRAS[name]
    remedy = f"pip install 'vlbench[{extra}]', {purpose}"
    return _package(name)._replace(remedy=remedy, is_needed=False)


def _java() -> Finding:
    from vlbench.metrics.java import require_java

    try:
        return Finding("Java", True, require_java(), "")
    except MissingError as error:
        return Finding("Java", False, "", str(error))


def _devices() -> Finding:
    try:
        import torch
    except ImportError:
        return Finding("devices", False, "", "pip install torch")
    gpus = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return Finding(
        "devices", True, ", ".join(gpus) or f"CPU, {torch.get_num_threads()} threads", ""
    )


def _cache() -> Finding:
    from vlbench.cache import cache_folder

    try:
        folder = cache_folder()
    except MissingError as error:
        return Finding("cache", False, "", str(error))
    free = shutil.disk_usage(folder).free
    text = f"{folder}, {free / 1e9:.1f} GB free"
    remedy = f"{Path(folder)} has {free / 1e9:.1f} GB free: set VLBENCH_CACHE to a larger disk"
    return Finding("cache", free > FREE_BYTES, text, remedy)
