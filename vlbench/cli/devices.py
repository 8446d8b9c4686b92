"""The device that a command works on: `auto`, `cpu` or a GPU's number."""

from __future__ import annotations

from vlbench.errors import MissingError, UsageError


def device_of(text: str, option: str) -> str:
    """`cpu` or `cuda:N`; `auto` is the first GPU where there is one."""
    import torch

    if text == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if text == "cpu":
        return "cpu"
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise UsageError(f"{option} {text}: should be auto, cpu or a GPU's number.")
    if int(text) >= torch.cuda.device_count():
        raise MissingError(f"{option} {text}: this machine has {torch.cuda.device_count()} GPUs.")
    return f"cuda:{text}"
