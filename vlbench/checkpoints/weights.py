"""Weights in files: state dicts of the authors, matched to a model of ours, and our own files."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from vlbench.checkpoints.authors import Name
from vlbench.errors import DataError, MissingError, UsageError
from vlbench.files import write_out
from vlbench.techniques.adapt import AdaptedModel
from vlbench.tensors import listed, unique_state

PICKLES = (".pth", ".pt", ".bin")
WRAPPED = "module."
"""Prefix of every name where the model was trained in a wrapper for several GPUs."""
METADATA = "vlbench"
"""The one key of a file's metadata; more have no fixed order."""


def read_state(file: Path) -> dict[str, Tensor]:
    """Read a state dict, `.safetensors` or pickled, without running any code in it.

    A wrapper's prefix is removed from the names.
    """
    if not file.is_file():
        raise MissingError(f"{file}: no such file.")
    if file.suffix == ".safetensors":
        state: Any = read_tensors(file)
    elif file.suffix in PICKLES:
        with warnings.catch_warnings(action="ignore"):  # of old files
            try:
                state = torch.load(file, map_location="cpu", weights_only=True)
            except Exception as error:  # whatever half a pickle makes of it
                reason = (str(error) or type(error).__name__).splitlines()[0]
                raise DataError(f"{file}: not readable as a state dict: {reason}") from None
    else:
        raise UsageError(f"{file}: neither of {', '.join(('.safetensors', *PICKLES))}.")
    values = [*state.values()] if isinstance(state, Mapping) else []
    if not values or not all(isinstance(value, Tensor) for value in values):
        raise DataError(f"{file}: not a state dict, which holds tensors by name.")
    is_wrapped = all(name.startswith(WRAPPED) for name in state)
    return {name.removeprefix(WRAPPED) if is_wrapped else name: state[name] for name in state}


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read a safetensors file; DataError where it is none, or not whole."""
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{file.name}: not readable as safetensors: {error}") from None


def match(
    own: Mapping[str, Tensor], names: Sequence[Name], theirs: Mapping[str, Tensor], source: str
) -> dict[str, Tensor]:
    """Return their tensors under our names; of ours, `own`, only the shapes are read.

    MissingError unless `theirs` holds exactly the model's tensors; `source` names it.
    """
    pieces: dict[str, list[Tensor]] = {}
    missing, faults = [], []
    for ours, rows, aliases in names:
        shape = own[ours][rows].shape
        first, *others = [alias for alias in aliases if alias in theirs] or [""]
        if not first:
            missing.append(aliases[0])
            continue
        tensor = theirs[first]
        if differing := [other for other in others if not _is_same(tensor, theirs[other])]:
            faults.append(
                f"{first} and {differing[0]} are one tensor there, but their values differ"
            )
        elif tensor.shape != shape:
            faults.append(f"{first} has shape {tuple(tensor.shape)}, expected {tuple(shape)}")
        elif not tensor.is_floating_point():
            faults.append(f"{first} holds {tensor.dtype}, expected floating point")
        pieces.setdefault(ours, []).append(tensor)
    known = {alias for name in names for alias in name.theirs}
    left_over = [name for name in theirs if name not in known]
    for what, some in (("missing", missing), ("left over", left_over)):
        if some:
            faults.append(f"{len(some)} {what}: {', '.join(some[:10])}")
    if faults:
        text = "\n".join(f"  {fault}" for fault in faults[-10:])
        raise MissingError(f"{source}: the weights do not fit this model:\n{text}")
    return {n: torch.cat(parts) if len(parts) > 1 else parts[0] for n, parts in pieces.items()}


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Bit for bit; not-a-number equals itself."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(*(t.contiguous().reshape(-1).view(torch.uint8) for t in (one, other)))


def write_weights(file: Path, tensors: Mapping[str, Tensor], belongs_to: dict[str, Any]) -> None:
    """Write all tensors as float32, with what they belong to; the file appears whole."""
    table = {"schema": "vlbench.weights/1", **belongs_to}
    plain = {name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}

    def write(path: Path) -> None:
        save_file(plain, path, {METADATA: json.dumps(table, sort_keys=True)})
        path.chmod(0o644)  # the library makes files that only their owner can read

    write_out(file, write)


def check_weights(file: Path, model: AdaptedModel, what: str) -> None:
    """Refuse a file that holds a tensor the model does not have, or has in another shape.

    Reads the names and shapes only; the model may be on the meta device. `what` names it.
    """
    if not file.is_file():
        raise MissingError(f"{file}: no such file.")
    try:
        with safe_open(file, framework="pt") as opened:
            parts = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            shapes = {name: tuple(part.get_shape()) for name, part in parts.items()}
            other = [name for name, part in parts.items() if "F" not in part.get_dtype()]
    except (SafetensorError, OSError) as error:
        raise DataError(f"{file}: not readable as safetensors: {error}") from None
    if other or not shapes:
        raise DataError(f"{file}: {other[0] if other else 'it'} holds no floating point numbers.")
    own = {name: tuple(tensor.shape) for name, tensor in unique_state(model).items()}
    if other := [name for name, shape in shapes.items() if own.get(name) != shape]:
        shape, expected = shapes[other[0]], own.get(other[0], "no such tensor")
        raise MissingError(
            f"{file}: {listed(other)} has shape {shape}, {what} has {expected}. An adapter fits "
            "the method and settings that it was trained with; `vlbench import-checkpoint` "
            "renames weights of the authors' code."
        )


@torch.no_grad()
def load_weights(file: Path, model: AdaptedModel, what: str) -> None:
    """Copy the file's tensors into the model; what the file lacks stays as it is."""
    check_weights(file, model, what)
    own = unique_state(model)
    for name, tensor in read_tensors(file).items():
        own[name].copy_(tensor)
