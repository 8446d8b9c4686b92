"""What comparing one golden file found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite, isnan
from typing import NamedTuple

import torch
from torch import Tensor

TOLERANCES: dict[str, float] = {
    "states": 1e-5,
    "logits": 1e-5,
    "loss": 1e-5,
    "gradients": 1e-3,
    "rates": 1e-9,
    "weights": 1e-5,
    "generated": 0,
}
"""Kind of number -> its largest allowed error: absolute; of gradients, and their norms,
|ours - theirs| / (|theirs| + 1e-3); of generated answers the number that is not identical."""
ROUNDINGS = 4
"""Where float32 is coarser than a tolerance, so many times what it rounds off is allowed: that is
the largest difference of our model from the same one in float64, by kind. Both sides round. Of
gradients both are measured by the largest of their tensor: on a small one among large ones, and
large weights make such, rounding is no small part."""
COARSEST = 5
"""But never more than so many times the tolerance, of the largest gradient where it is one."""
FLOOR = 1e-3
"""Added to a gradient's size before an error is divided by it."""
SMALLEST_NORM = 1e-4
"""Gradients of a smaller norm are rounding noise: mathematically they are zero."""


class Excess(NamedTuple):
    """An error beyond its tolerance."""

    kind: str
    error: float
    share: float
    """The error as rounding is measured."""
    where: str


@dataclass
class Outcome:
    """One file's largest error of each kind, and what is wrong."""

    name: str
    technique: str = ""
    errors: dict[str, float] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    """The same as rounding is measured: of gradients by the largest of their tensor."""
    excesses: list[Excess] = field(default_factory=list)
    """Errors beyond their tolerance that are not settled yet."""
    rounded: set[str] = field(default_factory=set)
    """Kinds of which an error is beyond its tolerance and within what float32 rounds off."""
    faults: list[str] = field(default_factory=list)
    not_run: str = ""
    """Why there was nothing to compare; empty where there was."""

    @property
    def verdict(self) -> str:
        """`ok`, `FAILED` or `not run`."""
        if self.faults or self.excesses:
            return "FAILED"
        return "not run" if self.not_run else "ok"

    def told_errors(self) -> dict[str, float | None]:
        """The errors as JSON has them: None for what is no finite number."""
        return {kind: error if isfinite(error) else None for kind, error in self.errors.items()}

    def fault(self, text: str) -> None:
        """Note what is wrong."""
        self.faults.append(text)

    def compare(self, kind: str, error: float, where: str, share: float | None = None) -> None:
        """Note an error, and as rounding is measured; what is no number is infinitely wrong."""
        error = inf if isnan(error) else error
        share = error if share is None or isnan(share) else share
        self.errors[kind] = max(error, self.errors.get(kind, 0.0))
        self.shares[kind] = max(share, self.shares.get(kind, 0.0))
        if error > TOLERANCES[kind]:
            self.excesses.append(Excess(kind, error, share, where))

    def settle(self, rounding: Mapping[str, float]) -> None:
        """Every excess is a fault, but for what float32 rounds off, by kind."""
        for kind, error, share, where in self.excesses:
            tolerance = TOLERANCES[kind]
            coarse = min(ROUNDINGS * rounding.get(kind, 0.0), COARSEST * tolerance)
            if share <= coarse:
                self.rounded.add(kind)
            elif share == error:
                allowed = max(tolerance, coarse)
                self.fault(f"{where}: {kind} differ by {error:.2g}, allowed {allowed:.2g}")
            else:
                self.fault(
                    f"{where}: {kind} differ by {error:.2g}, allowed {tolerance:.2g}, "
                    f"and by {share:.2g} of the largest, allowed {coarse:.2g}"
                )
        self.excesses.clear()

    def compare_tensors(self, kind: str, ours: Tensor, theirs: Tensor, where: str) -> None:
        """Absolute errors."""
        if self._same_shape(ours, theirs, where):
            self.compare(kind, (ours - theirs).abs().max().item(), where)

    def compare_gradients(self, ours: Tensor, theirs: Tensor, where: str) -> None:
        """Relative errors, with a floor; rounding is measured by the largest gradient."""
        if self._same_shape(ours, theirs, where):
            differences, sizes = (ours - theirs).abs(), theirs.abs() + FLOOR
            share = differences.max() / sizes.max()
            self.compare("gradients", (differences / sizes).max().item(), where, share.item())

    def compare_norms(self, ours: float, theirs: float, where: str) -> None:
        """Relative errors of gradient norms, with the same floor."""
        error = abs(ours - theirs) / (abs(theirs) + FLOOR)
        self.compare("gradients", error, f"{where} (norm)")

    def compare_names(self, what: str, ours: Iterable[str], theirs: Iterable[str]) -> None:
        """Two sets of names must be one."""
        mine, recorded = set(ours), set(theirs)
        for text, names in (("ours only", mine - recorded), ("theirs only", recorded - mine)):
            if names:
                more = f" and {len(names) - 1} more" if len(names) > 1 else ""
                self.fault(f"{what}: {text}: {min(names)}{more}")

    def compare_numbers(self, what: str, ours: float, theirs: float | None) -> None:
        """Two exact numbers must be one."""
        if theirs is not None and ours != theirs:
            self.fault(f"{what}: ours {ours:,}, theirs {theirs:,}")

    def _same_shape(self, ours: Tensor, theirs: Tensor, where: str) -> bool:
        if ours.shape == theirs.shape and torch.is_floating_point(theirs):
            return True
        self.fault(
            f"{where}: ours is {tuple(ours.shape)} of {ours.dtype}, "
            f"theirs {tuple(theirs.shape)} of {theirs.dtype}"
        )
        return False
