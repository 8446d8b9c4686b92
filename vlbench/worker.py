"""`python -m vlbench.worker RUN_DIR`: do one run from its spec, or be one of its ranks.

`-` in place of the folder: it is named on standard input, by a launcher that still plans.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from vlbench.errors import INTERRUPTED, VlbenchError
from vlbench.process import collect_rarely, isolate, with_defaults

if TYPE_CHECKING:
    from vlbench.runs.folder import RunFolder
    from vlbench.runs.spec import RunSpec
    from vlbench.runs.stopping import Stop

HELD = 75
"""Exit code of a worker whose run another process does (EX_TEMPFAIL of sysexits.h)."""


FROM_INPUT = "-"


def main(arguments: list[str], has_signals: bool = False) -> int:
    """Do the run and return its exit code; `has_signals` where the process is the worker's own."""
    from vlbench.runs.stopping import Stop, Stopped, explained

    parser = argparse.ArgumentParser(prog="python -m vlbench.worker", description=__doc__)
    parser.add_argument("folder", metavar="RUN_DIR", type=Path, help="with its spec.json")
    parser.add_argument("--processes", type=int, default=1, help="that share the run")
    parser.add_argument(
        "--launched", metavar="WHERE", default="", help="by a launcher, which holds stdin open"
    )
    options = parser.parse_args(arguments)
    os.environ.update(with_defaults(dict(os.environ)))  # before torch is imported: it counts then
    stop = Stop()
    try:
        if has_signals:
            stop.on_signals("preempted" if options.launched.startswith("slurm") else "cancelled")
        if str(options.folder) == FROM_INPUT:
            options.folder = _named_on_input()
        if options.folder is None:  # its launcher has nothing to do
            return 0
        if options.launched:
            stop.listen(sys.stdin.fileno())
        return _work(options.folder, options.launched, options.processes, stop)
    except (KeyboardInterrupt, Stopped):
        return INTERRUPTED
    except (Exception, SystemExit) as error:
        code, _, text = explained(error, options.folder)
        print(f"vlbench: {text}", file=sys.stderr)
        return code


def _named_on_input() -> Path | None:
    """Import what a run needs, then read its folder from input; None where that ends.

    What it prints goes to the run's log from there on.
    """
    from vlbench.runs.folder import RunFolder

    with suppress(Exception):  # it is imported again, where its error is told
        import_module("vlbench.runs.execute")
    name = b""
    while byte := os.read(sys.stdin.fileno(), 1).strip(b"\0"):
        name += byte
    if not name:
        return None
    folder = RunFolder(Path(os.fsdecode(name)))
    with folder.log.open("ab") as log:
        os.dup2(log.fileno(), 1), os.dup2(log.fileno(), 2)
    return folder.path


def _work(path: Path, where: str, processes: int, stop: Stop) -> int:
    from vlbench.lock import LockedError
    from vlbench.runs.folder import RunFolder
    from vlbench.runs.spec import RunSpec

    spec = RunSpec.read(path / "spec.json")
    folder = RunFolder(path)

    def heartbeat(is_ours: bool) -> None:
        if not is_ours or folder.cancel_file.exists():
            stop.ask("cancelled" if is_ours else "stopped")

    wait = partial(print, "another process does this run: waiting", file=sys.stderr)
    try:
        with folder.lock.acquire(where, None if where else wait, heartbeat):
            if not folder.is_done:
                return _attempt(spec, folder, where, processes, stop)
    except LockedError:
        return HELD
    folder.settle()
    return 0


def _attempt(spec: RunSpec, folder: RunFolder, where: str, processes: int, stop: Stop) -> int:
    """Make one attempt at the run and record how it ended."""
    from vlbench.files import remove_leftovers
    from vlbench.lock import LockedError
    from vlbench.runs.stopping import Stopped, explained
    from vlbench.runs.watch import Progress

    progress = Progress(folder.log, is_shown=not where)
    attempt = folder.attempts() + 1
    code, status, text = 0, "done", ""
    try:
        remove_leftovers(folder.path)
        folder.note_attempt(attempt, "began", where)
        folder.write_status("running", attempt, where=where, phase="preparing")
        progress.say(f"{spec.name}: attempt {attempt}")
        if folder.cancel_file.exists():
            stop.ask("cancelled")
        with stop.deferred():  # libraries whose import is broken off are broken
            from vlbench.runs.execute import Run, train_and_test
            from vlbench.runs.ranks import joined
        stop.check()
        with joined(folder.path, processes, spec.device):
            train_and_test(Run(spec, folder, attempt, progress, stop, where))
    except BaseException as error:
        is_stop = stop.reason and not isinstance(error, VlbenchError | OSError)
        code, status, text = explained(Stopped(stop.reason) if is_stop else error, folder.path)
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(ValueError):  # only a main thread has them
            signal.signal(number, signal.SIG_IGN)  # what follows takes no time
    if folder.lock.is_lost:
        raise LockedError
    if text and not where:
        print(f"vlbench: {text}", file=sys.stderr)
    with suppress(OSError):  # the disk may be full
        progress.log(text or status)
    with suppress(OSError):
        folder.note_attempt(attempt, status, where, text)
    with suppress(OSError):
        more = {"error": text, "exit_code": code} if code else {}
        folder.write_status(status, attempt, where=where, **more)
    return code


if __name__ == "__main__":
    isolate()
    collect_rarely()
    sys.exit(main(sys.argv[1:], has_signals=True))
