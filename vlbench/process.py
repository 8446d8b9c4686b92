"""How a process of vlbench begins: its import path, its garbage collector, its environment.

Imports nothing that the current folder could shadow: `isolate` runs before everything else.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys

SCRUBBED = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK"),
    *("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "ACCELERATE_", "TORCHELASTIC_"),
    *("SLURM_", "SBATCH_", "OMPI_", "PMI_", "PMIX_", "MPI_", "MV2_", "KMP_AFFINITY"),
)
"""What libraries read about an enclosing job: names, or their beginnings."""
SPINS = "2000"
"""How often a thread that waits for the others of its process looks, before it sleeps.

By libgomp's own count, 300,000, two runs beside each other slow each other down tenfold; with none,
each of a step's thousands of small operations waits 50 microseconds for its threads to wake up.
"""
RARE = 100_000
"""Objects made, and not freed, between two collections; Python's own number is 700 to 2,000."""
_usual: list[tuple[int, int, int]] = []
"""The thresholds to go back to, where they were changed."""


def isolate() -> None:
    """Take the current folder off this process's path and off its children's.

    Call it before anything is imported that the folder may hold.
    """
    environment, folder = isolated(dict(os.environ)), _current_folder()
    if not sys.flags.safe_path and sys.path[:1] in ([""], [folder]):
        del sys.path[0]  # `python -m` put it there
    if environment.get("PYTHONPATH") != os.environ.get("PYTHONPATH") and folder in sys.path:
        sys.path.remove(folder)
    os.environ.pop("PYTHONPATH", None)
    os.environ.update(environment)


def isolated(environment: dict[str, str]) -> dict[str, str]:
    """An environment in which no Python looks for modules in the current folder.

    An empty entry of PYTHONPATH means that folder, and so does `.`; its full path stays.
    """
    folder = _current_folder()
    entries = environment.get("PYTHONPATH", "").split(os.pathsep)
    kept = [path for path in entries if os.path.isabs(path) or os.path.abspath(path) != folder]
    others = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    path = {"PYTHONPATH": os.pathsep.join(kept)} if kept else {}
    return {**others, **path, "PYTHONSAFEPATH": "1"}


def _current_folder() -> str:
    """Its path; empty where it was deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def collect_rarely() -> None:
    """While torch and transformers are imported, which makes little garbage; and not at the end.

    A process that goes on to compute says `collect_as_usual` then: garbage may hold tensors.
    """
    _usual.append(gc.get_threshold())
    gc.set_threshold(RARE, *_usual[-1][1:])
    atexit.register(gc.freeze)


def collect_as_usual() -> None:
    """From now on, and only what is made from now on; nothing changes where it was not rare."""
    if _usual:
        gc.freeze()
        gc.set_threshold(*_usual.pop())


def worker_environment(threads: int | None = None, devices: str | None = None) -> dict[str, str]:
    """This process's environment for a worker; `devices` is its CUDA_VISIBLE_DEVICES."""
    from vlbench.files import cache_folder

    environment = isolated(with_defaults(scrubbed(dict(os.environ))))
    environment["VLBENCH_CACHE"] = str(cache_folder())  # whatever a file says by then
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    if devices is not None:
        environment["CUDA_VISIBLE_DEVICES"] = devices
    return environment


def with_defaults(environment: dict[str, str]) -> dict[str, str]:
    """What torch and tokenizers are to find in a process that computes; what is set stays."""
    waiting = {} if "OMP_WAIT_POLICY" in environment else {"GOMP_SPINCOUNT": SPINS}
    return {**waiting, "TOKENIZERS_PARALLELISM": "false", **environment}


def scrubbed(environment: dict[str, str]) -> dict[str, str]:
    """An environment without the variables of an enclosing job."""
    prefixes = tuple(name for name in SCRUBBED if name.endswith("_"))
    return {
        name: value
        for name, value in environment.items()
        if name not in SCRUBBED and not name.startswith(prefixes)
    }
