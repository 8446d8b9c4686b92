"""Slurm: its commands, and whether it answers."""

from __future__ import annotations

import shutil
import subprocess

from vlbench.config import SlurmSettings
from vlbench.doctor.finding import Finding
from vlbench.errors import nearest

COMMANDS = ("sbatch", "squeue", "sinfo", "scancel")
SECONDS = 10


def find_slurm(settings: SlurmSettings, is_needed: bool) -> Finding:
    """Whether jobs could be submitted from here, to the partition of the settings."""
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        remedy = f"no {', '.join(missing)} on PATH: only for --launcher slurm, on a cluster's node"
        return Finding("Slurm", False, "", remedy, is_needed)
    try:
        partitions = _partitions()
    except OSError as error:
        remedy = f"sinfo does not answer: {error}; --launcher slurm needs a running Slurm"
        return Finding("Slurm", False, "", remedy, is_needed)
    for name in (settings.partition or "").split(","):
        if name and name not in partitions:
            remedy = f"[slurm] partition: no partition '{name}'. {nearest(name, partitions)}"
            return Finding("Slurm", False, "", remedy, is_needed)
    return Finding("Slurm", True, f"partitions: {', '.join(partitions)}", "", is_needed)


def _partitions() -> list[str]:
    """The partitions; OSError with the reason where Slurm does not say."""
    command = ["sinfo", "--noheader", "--format=%R"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"nothing within {SECONDS} s") from None
    if answer.returncode:
        raise OSError((answer.stderr.strip() or "it failed").splitlines()[-1])
    return list(dict.fromkeys(answer.stdout.split()))
