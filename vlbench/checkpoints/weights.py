"""Weights in files: state dicts of the authors, matched to a model of ours, and our own files."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
LISTED = 10
"""How many names of a list are written out."""
METADATA = "vlbench"
"""The one key of a file's metadata; more have no fixed order."""
SCHEMA = "vlbench.weights/1"


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
    if not isinstance(state, Mapping) or not state:
        kind = "nothing" if isinstance(state, Mapping) else type(state).__name__
        raise DataError(f"{file}: not a state dict: it holds {kind}.")
    for name, value in state.items():
        if not isinstance(value, Tensor):
            kind = type(value).__name__
            raise DataError(f"{file}: not a state dict: '{name}' is {kind}, not a tensor.")
    is_wrapped = all(name.startswith(WRAPPED) for name in state)
    return {name.removeprefix(WRAPPED) if is_wrapped else name: state[name] for name in state}


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read a safetensors file; DataError where it is none, or not whole."""
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{file.name}: not readable as safetensors: {error}") from None


@dataclass
class Match:
    """What a state dict of the authors gives a model."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    """By our names, complete and of our shapes; a tensor with a fault is not here."""
    taken: list[str] = field(default_factory=list)
    """Their names that were used; further names of the same tensor are in `repeated`."""
    repeated: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Their names that the model needs and the file lacks."""
    left_over: list[str] = field(default_factory=list)
    """Names in the file that the model has no use for."""
    faults: list[str] = field(default_factory=list)
    """Shapes, number formats and repetitions that do not fit, a sentence each."""

    def complaints(self) -> list[str]:
        """Return all that does not fit: lists with their counts, then the faults."""
        lists = [("missing", self.missing), ("left over", self.left_over)]
        counted = [f"{len(n)} {what}: {', '.join(_first(n))}" for what, n in lists if n]
        return counted + _first(self.faults)

    def require_all(self, source: str) -> None:
        """Raise MissingError unless the file holds exactly the model's tensors."""
        if complaints := self.complaints():
            text = "\n".join(f"  {complaint}" for complaint in complaints)
            raise MissingError(f"{source}: the weights do not fit this model:\n{text}")


def match(own: Mapping[str, Tensor], names: Sequence[Name], theirs: Mapping[str, Tensor]) -> Match:
    """Match their tensors to our names; of ours, `own`, only the shapes are read."""
    result = Match()
    pieces: dict[str, list[Tensor]] = {}
    for ours, rows, aliases in names:
        shape = own[ours][rows].shape
        present = [alias for alias in aliases if alias in theirs]
        if not present:
            result.missing.append(aliases[0])
            continue
        first, *others = present
        tensor = theirs[first]
        differing = [other for other in others if not _is_same(tensor, theirs[other])]
        if differing:
            names_of_it = f"{first} and {', '.join(_first(differing))}"
            result.faults.append(f"{names_of_it} are one tensor there, but their values differ")
        elif tensor.shape != shape:
            given, expected = tuple(tensor.shape), tuple(shape)
            result.faults.append(f"{first} has shape {given}, expected {expected}")
        elif not tensor.is_floating_point():
            result.faults.append(f"{first} holds {tensor.dtype}, expected floating point")
        else:
            result.taken.append(first)
            result.repeated += others
            pieces.setdefault(ours, []).append(tensor)
    known = {alias for name in names for alias in name.theirs}
    result.left_over = [name for name in theirs if name not in known]
    for ours, parts in pieces.items():
        whole = torch.cat(parts) if len(parts) > 1 else parts[0]
        if whole.shape == own[ours].shape:
            result.tensors[ours] = whole
    return result


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Bit for bit; not-a-number equals itself."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(*(t.contiguous().reshape(-1).view(torch.uint8) for t in (one, other)))


def _first(texts: list[str]) -> list[str]:
    """The first ten, and how many more there are."""
    more = len(texts) - LISTED
    return [*texts[:LISTED], f"and {more} more"] if more > 0 else texts


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
    if not file.is_file():
        raise MissingError(f"{file}: no such file.")
    try:
        with safe_open(file, framework="pt") as opened:
            parts = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            shapes = {name: tuple(part.get_shape()) for name, part in parts.items()}
            other = [name for name, part in parts.items() if "F" not in part.get_dtype()]
            metadata = (opened.metadata() or {}).get(METADATA)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{file}: not readable as safetensors: {error}") from None
    if other:
        raise DataError(f"{file}: {other[0]} is not floating point.")
    if not shapes:
        raise DataError(f"{file}: it holds no tensors.")
    own = {name: tuple(tensor.shape) for name, tensor in unique_state(model).items()}
    if unknown := [name for name in shapes if name not in own]:
        fault = f"{what} has no {listed(unknown)}"
    elif other := [name for name, shape in shapes.items() if own[name] != shape]:
        name = other[0]
        fault = f"{listed(other)} has shape {shapes[name]}, in {what} {own[name]}"
    else:
        return
    raise MissingError(f"{file}: {fault}. {_origin(metadata)}")


@torch.no_grad()
def load_weights(file: Path, model: AdaptedModel, what: str) -> None:
    """Copy the file's tensors into the model; what the file lacks stays as it is."""
    check_weights(file, model, what)
    own = unique_state(model)
    for name, tensor in read_tensors(file).items():
        own[name].copy_(tensor)


def _origin(metadata: str | None) -> str:
    """What a file says it is of, or how it is made one of ours."""
    try:
        table = json.loads(metadata or "")
        return f"The file is of {table['method']['name']} on {table['backbone']}."
    except (ValueError, KeyError, TypeError):
        return (
            "Weights of the authors' code are renamed by `vlbench import-checkpoint`, adapters of "
            "vlbench are a run's adapter.safetensors."
        )
