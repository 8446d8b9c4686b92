"""The environment of a worker: nothing of an enclosing job, threads and devices as given."""

from __future__ import annotations

import os
from collections.abc import Mapping

from vlbench.cache import cache_folder
from vlbench.isolation import isolated

SCRUBBED = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK"),
    *("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "ACCELERATE_", "TORCHELASTIC_"),
    *("SLURM_", "SBATCH_", "OMPI_", "PMI_", "PMIX_", "MPI_", "MV2_", "KMP_AFFINITY"),
)
"""What libraries take for the place of this process among others; names or their beginnings."""
SPINS = "2000"
"""How often a thread that waits for the others of its process looks, before it sleeps.

By libgomp's own count, 300,000, two runs beside each other slow each other down tenfold; with none,
each of a step's thousands of small operations waits 50 microseconds for its threads to wake up.
"""


def worker_environment(threads: int | None = None, devices: str | None = None) -> dict[str, str]:
    """This process's environment for a worker; `devices` is its CUDA_VISIBLE_DEVICES."""
    environment = isolated(with_defaults(scrubbed(os.environ)))
    environment["VLBENCH_CACHE"] = str(cache_folder())  # whatever a file says by then
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    if devices is not None:
        environment["CUDA_VISIBLE_DEVICES"] = devices
    return environment


def with_defaults(environment: Mapping[str, str]) -> dict[str, str]:
    """What torch and tokenizers are to find in a process that computes; what is set stays."""
    waiting = {} if "OMP_WAIT_POLICY" in environment else {"GOMP_SPINCOUNT": SPINS}
    return {**waiting, "TOKENIZERS_PARALLELISM": "false", **environment}


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what tells of an enclosing job."""
    return {name: value for name, value in environment.items() if not _is_scrubbed(name)}


def _is_scrubbed(name: str) -> bool:
    return any(name == each or (each[-1] == "_" and name.startswith(each)) for each in SCRUBBED)
