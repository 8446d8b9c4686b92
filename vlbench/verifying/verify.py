"""Recompute every stored number of runs that are done."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlbench.errors import DataError, RunFailed
from vlbench.metrics.captions import one_meteor
from vlbench.running.spec import RunSpec
from vlbench.running.sums import RESULT
from vlbench.verifying.answers import check_answers
from vlbench.verifying.curve import check_curve
from vlbench.verifying.findings import Findings
from vlbench.verifying.history import check_history
from vlbench.verifying.inputs import Ground, Grounds, Row, Say, Weights, read_rows
from vlbench.verifying.rows import (
    check_measured,
    check_size,
    check_spec_cells,
    check_strangers,
    check_values,
)
from vlbench.verifying.seals import check_names, check_sums
from vlbench.verifying.sizes import Sizes, adapter_lengths, check_finite, check_weights
from vlbench.verifying.spec_check import check_spec
from vlbench.verifying.today import Today

NO_SPEC = "without its spec nothing else of the run can be checked"


@dataclass(frozen=True, slots=True)
class Verified:
    """One run and what was found in it."""

    key: str
    """The folder's name."""
    spec: RunSpec | None
    findings: Findings

    @property
    def name(self) -> str:
        """The run in words, as far as they are known."""
        return self.spec.name if self.spec else self.key

    @property
    def facts(self) -> dict[str, Any]:
        """What tells the run from others, as far as it is known."""
        return {**(self.spec.facts if self.spec else {}), "key": self.key}

    def as_json(self) -> dict[str, Any]:
        """An item of `vlbench verify --json`."""
        return {
            **self.facts,
            "holds": not self.findings.faults,
            "cells_checked": self.findings.checked,
            "faults": [fault.as_json() for fault in self.findings.faults],
            "not_checked": [
                {"reason": reason, "cells": cells}
                for reason, cells in sorted(self.findings.unchecked.items())
            ],
        }


class Verifier:
    """Verifies runs one by one; what several of them need is made once."""

    def __init__(
        self, root: Path | None = None, say: Say = lambda _: None, is_trusting: bool = False
    ) -> None:
        self._is_trusting = is_trusting
        self._grounds = Grounds(root, say, is_trusting)
        weights = Weights()
        self._today = Today(weights, is_trusting)
        self._sizes = Sizes(weights, is_trusting)

    def verify_all(self, runs: Sequence[Path]) -> Iterator[Verified]:
        """Every run, with what was found in it."""
        with one_meteor():
            for run in runs:
                yield self.verify(run)

    def verify(self, run: Path) -> Verified:
        """The run in this folder; whatever stands there, others can be verified after it."""
        findings = Findings()
        spec = None
        try:
            check_sums(run, findings)
            spec = check_spec(run, findings)
            if spec is None:
                findings.skip(NO_SPEC)
            else:
                self._check(run, spec, findings)
        except RunFailed:  # Java's fault, not that of what is stored
            raise
        except Exception as error:  # files from anywhere may be anything
            findings.fault(*_unreadable(run, error))
        return Verified(run.name, spec, findings)

    def _check(self, run: Path, spec: RunSpec, findings: Findings) -> None:
        ground = self._grounds.of(spec)
        self._today.check(spec, ground, findings)
        rows = _rows(run, findings)
        self._check_sizes(run, rows, spec, ground, findings)
        if rows:
            check_spec_cells(rows, spec, findings)
            check_strangers(rows, spec, findings)
            check_measured(rows, spec, ground, findings)
            check_history(run, rows, findings)
        for card in spec.tasks:
            of_run = ground.of(spec, card)
            reason = ground.reason or "the data here are not those of the run"
            answered = check_answers(run, card, of_run, reason, self._is_trusting, findings)
            check_values(rows, card, of_run, answered, findings)
        check_names(run, spec, findings)
        check_curve(run, spec, ground, findings)

    def _check_sizes(
        self, run: Path, rows: Sequence[Row], spec: RunSpec, ground: Ground, findings: Findings
    ) -> None:
        size = self._sizes.of(spec, ground)
        lengths = [] if isinstance(size, str) else adapter_lengths(run, spec, size)
        check_size(rows, size, lengths, findings)
        check_finite(run, findings)
        if not isinstance(size, str):
            check_weights(run, spec, size, lengths, findings)


def _unreadable(run: Path, error: Exception) -> tuple[str, str, str, str, str, str]:
    """The fault of a run whose check broke off: file, no cell, what was met and where."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    file = Path(getattr(error, "filename", None) or run / "spec.json")
    told = " ".join(str(error).split())[:200]
    what = f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}: {told}"
    return file.name, "", "", "", "", f"{what}: nothing more of the run was checked"


def _rows(run: Path, findings: Findings) -> list[Row]:
    try:
        rows, unknown = read_rows(run / RESULT)
    except DataError as error:
        findings.fault(RESULT, "", "", "", "", str(error))
        return []
    if not rows:
        findings.fault(RESULT, "", "", "no rows", "one for each value")
    for column in unknown:
        findings.skip(f"column '{column}' is not one of this vlbench", len(rows))
    return rows
