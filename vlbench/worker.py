"""`python -m vlbench.worker RUN_DIR`: does one run from its spec, the same everywhere."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path

from vlbench.errors import BUG, INTERRUPTED, RunFailed, UsageError, VlbenchError


def main(arguments: list[str]) -> int:
    """Do the run; the exit code is the command line's."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported: it counts then
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        if len(arguments) != 1:
            raise UsageError("usage: python -m vlbench.worker RUN_DIR")
        return _work(Path(arguments[0]))
    except VlbenchError as error:
        print(f"vlbench: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"vlbench: {error.filename}: {error.strerror}", file=sys.stderr)
        return RunFailed.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED


def _work(path: Path) -> int:
    from vlbench.running.folder import RunFolder
    from vlbench.running.progress import new_progress
    from vlbench.running.spec import RunSpec

    spec = RunSpec.read(path / "spec.json")
    folder = RunFolder(path)
    with folder.claimed(lambda: print("another process does this run: waiting", file=sys.stderr)):
        if folder.is_done:
            return 0
        attempt = folder.attempts() + 1
        folder.note_attempt(attempt, "began")
        folder.write_status("running", attempt, step=0)
        progress = new_progress(folder.log)
        progress.say(f"{spec.name}: attempt {attempt}")
        try:
            from vlbench.running.execute import Run

            Run(spec, folder, attempt, progress).execute()
        except BaseException as error:
            for each in (signal.SIGINT, signal.SIGTERM):
                signal.signal(each, signal.SIG_IGN)  # what follows takes no time
            progress.close()
            code, status, text = _explained(error, path)
            if text:
                print(f"vlbench: {text}", file=sys.stderr)
            with suppress(OSError):  # the disk may be full
                folder.note_attempt(attempt, status, text)
                folder.write_status(status, attempt, error=text)
                progress.log(text)
            return code
        progress.close()
        folder.note_attempt(attempt, "done")
        folder.write_status("done", attempt)
        return 0


def _explained(error: BaseException, path: Path) -> tuple[int, str, str]:
    """Exit code, status and text of what ended an attempt; a bug comes with its traceback."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "cancelled", ""
    if isinstance(error, VlbenchError):
        return error.exit_code, "failed", str(error)
    if isinstance(error, OSError):
        return RunFailed.exit_code, "failed", f"{error.filename or path}: {error.strerror or error}"
    if type(error).__name__ == "OutOfMemoryError":
        return RunFailed.exit_code, "failed", f"{error} (--set train.batch_size=... takes less)"
    return BUG, "failed", traceback.format_exc()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # told to go: as Ctrl-C
    sys.exit(main(sys.argv[1:]))
