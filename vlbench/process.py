"""How a process of vlbench begins: import path, environment, standard output.

Imports at the top only what Python has loaded before: `isolate` runs before everything else.
"""

from __future__ import annotations

import atexit
import errno
import gc
import io
import os
import sys

SCRUBBED = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK"),
    *("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "ACCELERATE_", "TORCHELASTIC_"),
    *("SLURM_", "SBATCH_", "OMPI_", "PMI_", "PMIX_", "MPI_", "MV2_", "KMP_AFFINITY"),
)
"""What libraries read about an enclosing job: names, or their beginnings."""
SPINS = "2000"
"""How often a waiting thread looks before it sleeps: by libgomp's 300,000, two runs beside each
other take ten times as long; with none, each small operation waits 50 us for threads to wake up."""


def isolate() -> None:
    """Take the current folder off this process's import path and off its children's."""
    environment, folder = isolated(dict(os.environ)), _current_folder()
    if not sys.flags.safe_path and sys.path[:1] in ([""], [folder]):
        del sys.path[0]  # `python -m` put it there
    if environment.get("PYTHONPATH") != os.environ.get("PYTHONPATH") and folder in sys.path:
        sys.path.remove(folder)
    os.environ.pop("PYTHONPATH", None)
    os.environ.update(environment)


def isolated(environment: dict[str, str]) -> dict[str, str]:
    """An environment in which no Python looks for modules in the current folder (`.`, or empty)."""
    folder = _current_folder()
    entries = environment.get("PYTHONPATH", "").split(os.pathsep)
    kept = [path for path in entries if os.path.isabs(path) or os.path.abspath(path) != folder]
    others = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    path = {"PYTHONPATH": os.pathsep.join(kept)} if kept else {}
    return {**others, **path, "PYTHONSAFEPATH": "1"}


def _current_folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def collect_rarely() -> None:
    """Collect garbage rarely, and not at the end: with torch imported that takes two seconds."""
    gc.set_threshold(10_000)
    atexit.register(gc.freeze)


def worker_environment(threads: int, devices: str = "") -> dict[str, str]:
    """This process's environment for a worker; `devices` is its CUDA_VISIBLE_DEVICES."""
    from vlbench.files import cache_folder

    prefixes = tuple(name for name in SCRUBBED if name.endswith("_"))
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in SCRUBBED and not name.startswith(prefixes)
    }
    own = {"VLBENCH_CACHE": str(cache_folder()), "OMP_NUM_THREADS": str(threads)}
    own |= {"CUDA_VISIBLE_DEVICES": devices} if devices else {}
    return isolated(with_defaults(kept)) | own


def with_defaults(environment: dict[str, str]) -> dict[str, str]:
    """The environment with defaults for torch and tokenizers in a process that computes."""
    waiting = {} if "OMP_WAIT_POLICY" in environment else {"GOMP_SPINCOUNT": SPINS}
    return {**waiting, "TOKENIZERS_PARALLELISM": "false", **environment}


class AnswerLost(SystemExit):
    """Standard output cannot be written, and the message is out: not the command's own error."""


def guard_output() -> None:
    """Have standard output escape what its encoding lacks; AnswerLost where it is lost."""
    if sys.stdout is not None:
        buffer = io.BufferedWriter(_Output(1, "w", closefd=False))  # type: ignore[type-var]
        encoding, is_terminal = sys.stdout.encoding, sys.stdout.isatty()
        sys.stdout = io.TextIOWrapper(buffer, encoding, "backslashreplace", None, is_terminal)


class _Output(io.FileIO):
    """Standard output below its buffer."""

    def write(self, content: bytes | memoryview, /) -> int:  # type: ignore[override]
        from vlbench.errors import UNREAD, MissingError

        try:
            return super().write(content)
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where what is still buffered goes
            if error.errno == errno.EPIPE:
                raise AnswerLost(UNREAD) from None
            text = f"the answer cannot be written: {error.strerror}."
            print(f"vlbench: standard output: {text}", file=sys.stderr)
            raise AnswerLost(MissingError.exit_code) from None
