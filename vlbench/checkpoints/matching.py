"""Which tensor of an authors' state dict is which of ours, and everything that does not fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vlbench.checkpoints.authors import Name
from vlbench.errors import MissingError

SHOWN = 10
"""How many names of a list are written out."""


@dataclass
class Match:
    """What a state dict gives a model."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    """By our names, complete and of our shapes; a tensor with a fault is not here."""
    taken: list[str] = field(default_factory=list)
    """Their names that were used; further names of the same tensor are not among them."""
    repeated: list[str] = field(default_factory=list)
    """Further names of tensors that were taken, bit for bit the same."""
    missing: list[str] = field(default_factory=list)
    """Their names that the model needs and the file lacks."""
    left_over: list[str] = field(default_factory=list)
    """Names in the file that the model has no use for."""
    faults: list[str] = field(default_factory=list)
    """Shapes, number formats and repetitions that do not fit, a sentence each."""

    def complaints(self) -> list[str]:
        """All that does not fit: lists with their counts, then the faults."""
        lists = {"missing": self.missing, "left over": self.left_over}
        told = [f"{len(names)} {what}: {listed(names)}" for what, names in lists.items() if names]
        return told + self.faults[:SHOWN] + _more(len(self.faults) - SHOWN)

    def require_all(self, source: str) -> None:
        """MissingError unless the file holds the model's tensors, all of them and no other."""
        complaints = self.complaints()
        if complaints:
            told = "\n".join(f"  {each}" for each in complaints)
            raise MissingError(f"{source}: the weights do not fit this model:\n{told}")


def match(own: Mapping[str, Tensor], names: Sequence[Name], theirs: Mapping[str, Tensor]) -> Match:
    """Their tensors under our names; `own` are ours, of which only the shapes are read."""
    found = Match()
    pieces: dict[str, list[Tensor]] = {}
    wanted: set[str] = set()
    for name in names:
        wanted.update(name.theirs)
        piece = _piece(name, own[name.ours][name.rows].shape, theirs, found)
        if piece is not None:
            pieces.setdefault(name.ours, []).append(piece)
    found.left_over = [name for name in theirs if name not in wanted]
    for ours, parts in pieces.items():
        whole = torch.cat(parts) if len(parts) > 1 else parts[0]
        if whole.shape == own[ours].shape:
            found.tensors[ours] = whole
    return found


def _piece(
    name: Name, shape: torch.Size, theirs: Mapping[str, Tensor], found: Match
) -> Tensor | None:
    """The tensor of a name, or of some of its rows, where it is there and fits."""
    there = [each for each in name.theirs if each in theirs]
    if not there:
        found.missing.append(name.theirs[0])
        return None
    first, *others = there
    tensor = theirs[first]
    differing = [each for each in others if not _same(tensor, theirs[each])]
    if differing:
        found.faults.append(
            f"{first} and {listed(differing)} are one tensor there, but their values differ"
        )
    elif tensor.shape != shape:
        found.faults.append(f"{first} has shape {tuple(tensor.shape)}, expected {tuple(shape)}")
    elif not tensor.is_floating_point():
        found.faults.append(f"{first} holds {tensor.dtype}, expected floating point")
    else:
        found.taken.append(first)
        found.repeated += others
        return tensor
    return None


def _same(one: Tensor, other: Tensor) -> bool:
    """Bit for bit; not-a-number equals itself."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    flat = [each.contiguous().reshape(-1).view(torch.uint8) for each in (one, other)]
    return torch.equal(*flat)


def listed(names: Iterable[str]) -> str:
    """The first ten names, and how many more there are."""
    known = list(names)
    return ", ".join(known[:SHOWN] + _more(len(known) - SHOWN))


def _more(number: int) -> list[str]:
    return [f"and {number} more"] if number > 0 else []
