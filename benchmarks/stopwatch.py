"""A process of vlbench with a stopwatch on some of its functions, for harness.py.

    python benchmarks/stopwatch.py launcher|worker FOLDER BEGAN WORD...

does what `vlbench WORD...` or `python -m vlbench.worker WORD...` does, and leaves the seconds of
each part in FOLDER/launcher.json and FOLDER/worker.json. BEGAN is the monotonic clock where the
process was started. Only the main thread counts, and each moment counts once, for the innermost
part; the key of a part names those around it too.
"""

from __future__ import annotations

import builtins
import importlib
import json
import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

LAUNCHER = {
    "vlbench.runs.plan:plan": "planning",
    "vlbench.runs.plan:prepare": "reading and hashing data",
    "vlbench.runs.launch:launch": "launching",
}
WORKER = {
    "vlbench.runs.execute:Run.__init__": "building the model",
    "vlbench.runs.execute:Run.prepare": "building the model",
    "vlbench.runs.execute:read_inputs": "reading and hashing data",
    "vlbench.runs.execute:frozen_checksum": "checksums of frozen tensors",
    "vlbench.training.train:Trainer.train": "training loop",
    "vlbench.training.train:Trainer.step": "steps",
    "vlbench.runs.callbacks:Callbacks.on_step": "progress and curve",
    "vlbench.runs.callbacks:Callbacks._save": "checkpoints",
    "vlbench.runs.callbacks:Callbacks.on_epoch": "validation",
    "vlbench.runs.execute:test": "test",
    "vlbench.runs.execute:answers": "answers",
    "vlbench.runs.callbacks:score": "scores",
    "vlbench.runs.execute:score": "scores",
    "vlbench.runs.execute:majority_scored": "scores of the majority",
    "vlbench.runs.execute:write_predictions": "writing results",
    "vlbench.runs.execute:write_result": "writing results",
    "vlbench.runs.execute:provenance": "versions and counts",
    "vlbench.runs.execute:write_adapter": "writing results",
}
"""Function, where it is looked up -> the part that its time belongs to."""
SEPARATOR = " / "


class Stopwatch:
    """Seconds of each part, and the part that is running."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._parts: tuple[str, ...] = ()
        self._since = time.monotonic()

    def on(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose time is that of a part."""

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return function(*args, **kwargs)
            around = self._parts
            self._turn_to(around if around[-1:] == (part,) else (*around, part))
            try:
                return function(*args, **kwargs)
            finally:
                self._turn_to(around)

        return timed

    def put_on(self, target: str, part: str) -> None:
        """Replace the function at `module:name` by one whose time is that of a part."""
        module, _, name = target.partition(":")
        *path, last = name.split(".")
        holder: Any = importlib.import_module(module)
        for attribute in path:
            holder = getattr(holder, attribute)
        setattr(holder, last, self.on(part, getattr(holder, last)))

    def stop(self) -> dict[str, float]:
        """The seconds of all parts."""
        self._turn_to(())
        return dict(self.seconds)

    def _turn_to(self, parts: tuple[str, ...]) -> None:
        now = time.monotonic()
        self.seconds[SEPARATOR.join(self._parts)] += now - self._since
        self._parts, self._since = parts, now


def main(kind: str, folder: str, began: str, *words: str) -> int:
    """Do what the words say; the exit code is theirs."""
    watch = Stopwatch()
    watch.seconds["start of Python"] = time.monotonic() - float(began)
    builtins.__import__ = watch.on("imports", builtins.__import__)
    importlib.import_module = watch.on("imports", importlib.import_module)
    queue.Queue.get = watch.on("waiting for a batch", queue.Queue.get)  # type: ignore[method-assign]
    for target, part in (LAUNCHER if kind == "launcher" else WORKER).items():
        watch.put_on(target, part)
    try:
        return launcher(folder, words) if kind == "launcher" else worker(words)
    finally:
        seconds = json.dumps(watch.stop())
        Path(folder, f"{kind}.json").write_text(seconds, encoding="utf-8")


def launcher(folder: str, words: tuple[str, ...]) -> int:
    """The command line, which starts its workers under a stopwatch too."""
    from vlbench.__main__ import main
    from vlbench.runs import launch

    launch.worker_command = partial(watched_worker, folder)
    sys.argv = ["vlbench", *words]
    main()
    return 0


def watched_worker(folder: str, run: Any, where: str, processes: int = 1) -> list[str]:
    """In place of `vlbench.runs.launch.worker_command`."""
    words = [str(run.path.absolute()), "--launched", where, "--processes", str(processes)]
    return [sys.executable, __file__, "worker", folder, str(time.monotonic()), *words]


def worker(words: tuple[str, ...]) -> int:
    """A worker's work."""
    from vlbench.worker import main

    return main(list(words), has_signals=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
