"""A run's `spec.json` in itself: its key, and its folder's name."""

from __future__ import annotations

from pathlib import Path

from vlbench.errors import DataError
from vlbench.running.spec import RunSpec
from vlbench.verifying.findings import Findings

SPEC = "spec.json"


def check_spec(run: Path, findings: Findings) -> RunSpec | None:
    """The spec, checked against its key and the folder's name; None where it cannot be read."""
    try:
        spec, key = RunSpec.parse(run / SPEC)
    except (DataError, RecursionError) as error:
        text = str(error).removeprefix(f"{run / SPEC}: ")
        findings.fault(SPEC, "", "", "", "", " ".join(text.split())[:500])
        return None
    findings.cell(SPEC, "", "key", key, spec.key, "the spec is not the one that has this key")
    findings.cell(SPEC, "", "folder", run.name, spec.key, "the folder has another run's name")
    return spec
