"""State dicts as files: `.safetensors`, or what torch pickles, read without running any of it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vlbench.errors import DataError, MissingError, UsageError

PICKLES = (".pth", ".pt", ".bin")
WRAPPED = "module."
"""What a model that was trained in a wrapper for several GPUs puts in front of every name."""


def read_state(file: Path) -> dict[str, Tensor]:
    """The tensors of a state dict by name, without a wrapper's prefix."""
    if not file.is_file():
        raise MissingError(f"{file}: no such file.")
    if file.suffix == ".safetensors":
        state: Any = read_tensors(file)
    elif file.suffix in PICKLES:
        state = _unpickled(file)
    else:
        known = ", ".join((".safetensors", *PICKLES))
        raise UsageError(f"{file}: neither of {known}.")
    if not isinstance(state, Mapping) or not state:
        raise DataError(f"{file}: not a state dict: it holds {_told(state)}.")
    strange = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if strange:
        found = type(state[strange[0]]).__name__
        raise DataError(f"{file}: not a state dict: '{strange[0]}' is {found}, not a tensor.")
    if all(name.startswith(WRAPPED) for name in state):
        return {name.removeprefix(WRAPPED): tensor for name, tensor in state.items()}
    return dict(state)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """A safetensors file; DataError where it is none, or not whole."""
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{file.name}: not readable as safetensors: {error}") from None


def _unpickled(file: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old files are told by what follows
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever half a pickle makes of it
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise DataError(f"{file}: not readable as a state dict: {reason}") from None


def _told(state: object) -> str:
    return "nothing" if isinstance(state, Mapping) else type(state).__name__
