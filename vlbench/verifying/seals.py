"""The files of a run against its `SHA256SUMS`, and against those that a run can have."""

from __future__ import annotations

from pathlib import Path

from vlbench.errors import DataError
from vlbench.running.spec import RunSpec
from vlbench.running.sums import NAME, WEIGHTS, hash_of, read_sums, sealed_files, strange_files
from vlbench.text import results_option
from vlbench.verifying.findings import Findings

NO_SUMS = "a run that is done has them: somebody took them away, or its vlbench wrote none; "
NOT_LISTED = "a run that is done lists all its files: the line was taken away, or it came later; "
NO_WEIGHTS = "adapter.safetensors is not kept here"
STRANGE = "no run writes it: move it out of the run's folder"


def check_sums(run: Path, findings: Findings) -> None:
    """Every file that a run leaves is the one that its sums name, and each that they name is there.

    Weights may be absent: results are kept without them.
    """
    there = sealed_files(run)
    seal = f"vlbench results seal{results_option(run.parents[1])}"
    findings.skip(NO_WEIGHTS, WEIGHTS not in there)
    try:
        sums = read_sums(run)
    except DataError as error:
        findings.fault(NAME, "", "", "", "", str(error))
        return
    if sums is None:
        why = f"{NO_SUMS}{seal} writes what the files are now"
        findings.fault(NAME, "", "", "no such file", f"the sums of {len(there)} files", why)
        return
    for name in there:
        why = "" if name in sums else f"{NOT_LISTED}{seal} adds what the file is now"
        stored = sums.get(name, f"not in {NAME}")
        findings.cell(name, "", "sha256", stored, hash_of(run / name), why)
    for name in sorted(sums.keys() - {*there, WEIGHTS}):
        findings.fault(name, "", "sha256", sums[name], "no such file")


def check_names(run: Path, spec: RunSpec, findings: Findings) -> None:
    """No file is there that no run writes, and no predictions of a task that the run has not."""
    for name in strange_files(run):
        findings.fault(name, "", "", "a file", "none", STRANGE)
    known = {f"predictions/{task.name}.parquet" for task in spec.tasks}
    for name in sealed_files(run):
        if name.startswith("predictions/") and name not in known:
            findings.fault(name, "", "", "a file", "not a task of the run")
