"""The files of a run against its `SHA256SUMS`."""

from __future__ import annotations

from pathlib import Path

from vlbench.errors import DataError
from vlbench.hints import results_option
from vlbench.running.sums import NAME, WEIGHTS, hash_of, read_sums, sealed_files
from vlbench.verifying.findings import Findings

NO_SUMS = "no SHA256SUMS in the run's folder: it is of an older vlbench. Write it: "
NO_WEIGHTS = "adapter.safetensors is not kept here"


def check_sums(run: Path, findings: Findings) -> None:
    """Every file that a run leaves is the one that its sums name, and each that they name is there.

    Weights may be absent: results are kept without them.
    """
    there = sealed_files(run)
    try:
        sums = read_sums(run)
    except DataError as error:
        findings.fault(NAME, "", "", "", "", str(error))
        return
    if sums is None:
        hint = f"vlbench results seal{results_option(run.parents[1])}"
        findings.skip(f"{NO_SUMS}{hint}", len(there))
        return
    for name in there:
        findings.cell(name, "", "sha256", sums.get(name, "not in SHA256SUMS"), hash_of(run / name))
    for name in sorted(sums.keys() - set(there)):
        if name == WEIGHTS:
            findings.skip(NO_WEIGHTS)
        else:
            findings.fault(name, "", "sha256", sums[name], "no such file")
