"""Recompute every stored number of runs that are done."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlbench.errors import RunFailed
from vlbench.metrics.java import one_meteor
from vlbench.runs.spec import RunSpec
from vlbench.verify.findings import Findings
from vlbench.verify.inputs import BackboneWeights, ReferenceData, Say
from vlbench.verify.results import (
    check_curve,
    check_history,
    check_measured,
    check_predictions,
    check_spec_cells,
    check_values,
    stored_rows,
)
from vlbench.verify.today import (
    Sizes,
    Today,
    check_names,
    check_size,
    check_spec,
    check_sums,
    check_weights,
)


@dataclass(frozen=True, slots=True)
class Verified:
    """One run with its findings."""

    key: str
    """The folder's name."""
    spec: RunSpec | None
    findings: Findings

    @property
    def name(self) -> str:
        """The run in words, as far as they are known."""
        return self.spec.name if self.spec else self.key

    def as_json(self) -> dict[str, Any]:
        """An item of `vlbench verify --json`."""
        return {
            **(self.spec.facts if self.spec else {}),
            "key": self.key,
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
        self._data = ReferenceData(root, say, is_trusting)
        weights = BackboneWeights()
        self._today = Today(weights, is_trusting)
        self._sizes = Sizes(weights, is_trusting)

    def verify_all(self, runs: Sequence[Path]) -> Iterator[Verified]:
        """Verify every run."""
        with one_meteor():
            for run in runs:
                yield self.verify(run)

    def verify(self, run: Path) -> Verified:
        """Verify the run in a folder; whatever stands there, others can be verified after it."""
        findings = Findings()
        spec = None
        try:
            check_sums(run, findings)
            spec = check_spec(run, findings)
            if spec is None:
                findings.skip("without its spec nothing else of the run can be checked")
            else:
                self._check(run, spec, findings)
        except RunFailed:  # Java's fault, not that of what is stored
            raise
        except Exception as error:  # files from anywhere may be anything
            last = traceback.extract_tb(error.__traceback__)[-1]
            file = Path(getattr(error, "filename", None) or run / "spec.json")
            text = " ".join(str(error).split())[:200]
            what = f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"
            why = f"{what}: {text}: nothing more of the run was checked"
            findings.fault(file.name, "", "", "", "", why)
        return Verified(run.name, spec, findings)

    def _check(self, run: Path, spec: RunSpec, findings: Findings) -> None:
        data = self._data.of(spec)
        self._today.check(spec, data, findings)
        rows = stored_rows(run, findings)
        size = self._sizes.of(spec, data)
        check_size(run, rows, size, findings)
        check_weights(run, spec, size, findings)
        if rows:
            check_spec_cells(rows, spec, findings)
            check_measured(rows, spec, data, findings)
            check_history(run, rows, findings)
        reason = data.reason or "the data here are not those of the run"
        for card in spec.tasks:
            task = data.of(spec, card)
            answered = check_predictions(run, card, task, reason, self._is_trusting, findings)
            check_values(rows, card, task, answered, findings)
        check_names(run, spec, findings)
        check_curve(run, spec, data, findings)
