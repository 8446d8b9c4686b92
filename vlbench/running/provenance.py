"""Where a number came from: code, library versions, device."""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import torch

from vlbench import __version__

EXTRAS = ("peft",)
"""What computes in some runs only."""


def code_version() -> str:
    """vlbench's version, with the commit and a dirty mark where it runs from a checkout."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return __version__
    try:
        commit = _git(checkout, "rev-parse", "--short=12", "HEAD")
        dirty = "+dirty" if _git(checkout, "status", "--porcelain", "--", "vlbench") else ""
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__} {commit}{dirty}"


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()


def versions() -> str:
    """Versions of what computes, as JSON, with the number of threads."""
    computing = ("torch", "transformers", "accelerate", "numpy")
    used = [name for name in EXTRAS if name in sys.modules]
    found = {name: version(name) for name in (*computing, *used)}
    threads = torch.get_num_threads()
    return json.dumps({"python": platform.python_version(), **found, "threads": threads})


def device_name(device: torch.device) -> str:
    """The device as people know it."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"{device.type}: {_processor()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory this process held: of the device on a GPU, resident on CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
