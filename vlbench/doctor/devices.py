"""The processor and the GPUs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from vlbench.doctor.finding import Finding

GIGABYTE = 1e9


def find_devices() -> list[Finding]:
    """A finding for the CPU, one for each GPU, or one that says why there is none."""
    try:
        import torch
    except Exception as error:  # a library that does not load is no ImportError
        return [Finding("CPU", False, "", f"torch cannot be imported: {error}; pip install torch")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIGABYTE
    cpu = Finding("CPU", True, f"{torch.get_num_threads()} threads, {memory:.1f} GB of memory")
    pretended = os.environ.get("VLBENCH_FAKE_GPUS")
    if pretended:
        text = f"VLBENCH_FAKE_GPUS={pretended} pretends some: runs use the CPU"
        return [cpu, Finding("GPU", True, text, is_needed=False)]
    gpus = [_gpu(torch, number) for number in range(torch.cuda.device_count())]
    return [cpu, *(gpus or [Finding("GPU", False, "", _why_no_gpu(torch), is_needed=False)])]


def _gpu(torch: Any, number: int) -> Finding:
    found = torch.cuda.get_device_properties(number)
    text = f"{found.name}, {found.total_memory / GIGABYTE:.1f} GB"
    return Finding(f"GPU {number}", True, text, is_needed=False)


def _why_no_gpu(torch: Any) -> str:
    has_driver = Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None
    if not has_driver:
        return "none found: runs use the CPU, which is enough for the mini edition"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA: pip install a build with it"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return f"torch sees none with CUDA_VISIBLE_DEVICES={visible}: unset CUDA_VISIBLE_DEVICES"
    return f"torch is built for CUDA {torch.version.cuda} and sees none: look at nvidia-smi"
