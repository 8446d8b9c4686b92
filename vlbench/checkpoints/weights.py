"""Weights under our own names: what an import writes, and what a run can start from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vlbench.checkpoints.reading import read_tensors
from vlbench.errors import DataError, MissingError
from vlbench.files import write_out
from vlbench.techniques.adapt import AdaptedModel
from vlbench.tensors import listed, unique_state

METADATA = "vlbench"
"""The one key of a file's metadata; more have no fixed order."""
SCHEMA = "vlbench.weights/1"


def write_weights(file: Path, tensors: Mapping[str, Tensor], belongs_to: dict[str, Any]) -> None:
    """Write all tensors as float32, with what they belong to; the file appears whole."""
    metadata = {METADATA: json.dumps({"schema": SCHEMA, **belongs_to}, sort_keys=True)}
    plain = {name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}

    def write(path: Path) -> None:
        save_file(plain, path, metadata)
        path.chmod(0o644)  # the library makes files that only their owner can read

    write_out(file, write)


def check_weights(file: Path, model: AdaptedModel, what: str) -> None:
    """Refuse a file that holds a tensor the model does not have, or has in another shape.

    Reads the names and shapes only; the model may be on the meta device. `what` names it.
    """
    own = unique_state(model)
    shapes = _shapes(file)
    unknown = [name for name in shapes if name not in own]
    if unknown:
        raise MissingError(f"{file}: {what} has no {listed(unknown)}. {_origin(file)}")
    other = [name for name, shape in shapes.items() if tuple(own[name].shape) != shape]
    if other:
        name = other[0]
        raise MissingError(
            f"{file}: {listed(other)} has shape {shapes[name]}, in {what} "
            f"{tuple(own[name].shape)}. {_origin(file)}"
        )


@torch.no_grad()
def load_weights(file: Path, model: AdaptedModel, what: str) -> None:
    """Copy the file's tensors into the model; what the file lacks stays as it is."""
    check_weights(file, model, what)
    own = unique_state(model)
    for name, tensor in read_tensors(file).items():
        own[name].copy_(tensor)


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor; DataError where the file holds none of floating point."""
    if not file.is_file():
        raise MissingError(f"{file}: no such file.")
    try:
        with safe_open(file, framework="pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            shapes = {name: tuple(each.get_shape()) for name, each in slices.items()}
            strange = [name for name, each in slices.items() if "F" not in each.get_dtype()]
    except (SafetensorError, OSError) as error:
        raise DataError(f"{file}: not readable as safetensors: {error}") from None
    if strange:
        raise DataError(f"{file}: {strange[0]} is not floating point.")
    if not shapes:
        raise DataError(f"{file}: it holds no tensors.")
    return shapes


def _origin(file: Path) -> str:
    """What the file says it is of, or how it is made one of ours."""
    with safe_open(file, framework="pt") as opened:
        metadata = (opened.metadata() or {}).get(METADATA)
    try:
        table = json.loads(metadata or "")
        return f"The file is of {table['method']['name']} on {table['backbone']}."
    except (ValueError, KeyError, TypeError):
        return (
            "Weights of the authors' code are renamed by `vlbench import-checkpoint`, adapters of "
            "vlbench are a run's adapter.safetensors."
        )
