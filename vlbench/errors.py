"""Every error a user can meet, each with its exit code (docs/cli.md)."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable

BUG = 5
"""Exit code of what vlbench cannot explain."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""
UNREAD = 141
"""Exit code where the reader of the answer has left, as a shell tells of SIGPIPE."""


class VlbenchError(Exception):
    """A failure that vlbench explains in one message; anything else is a bug in vlbench."""

    exit_code = 1


class RunFailed(VlbenchError):
    """A run ended without a result."""

    exit_code = 1


class JavaFailed(RunFailed):
    """The Java of a caption scorer died or gave no answer."""

    exit_code = 3


class WorseThanAllowed(VlbenchError):
    """The gate of `vlbench compare` found a drop, or a number that is lost."""

    exit_code = 1


class UsageError(VlbenchError):
    """The command's words do not fit: an unknown name, option or value."""

    exit_code = 2


class CardError(UsageError):
    """A card cannot be read or does not say what a card must say."""


class MissingError(VlbenchError):
    """Something is not there: data, weights, Java, an extra."""

    exit_code = 3


class DataError(MissingError):
    """A data file is there but a record in it is faulty."""


class NothingToReport(VlbenchError):
    """There is nothing to report or to compare."""

    exit_code = 4


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest valid name, where there is one, and all that are valid."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    guess = f"Did you mean '{close[0]}'? " if close else ""
    return f"{guess}Known: {', '.join(names)}."


def told_by_system(error: OSError, path: object) -> str:
    """Which file the system refused, or `path` where it names none, and why."""
    return f"{error.filename2 or error.filename or path}: {error.strerror or error}"


OUT_OF_MEMORY = ("allocate memory", "error: out of memory", "STATUS_ALLOC_FAILED")
"""What a RuntimeError says of memory on the CPU, in the CUDA driver, in cuBLAS and cuDNN."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the device or of the machine; torch's class is its allocator's."""
    is_of_torch = isinstance(error, RuntimeError) and any(t in str(error) for t in OUT_OF_MEMORY)
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or is_of_torch


def whose_exit(error: SystemExit) -> str:
    """Which code wanted the process to end; vlbench's own raises errors, so it is outside code."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{frame.filename}, line {frame.lineno}: SystemExit({error.code!r}) was raised there, and "
        "no code that vlbench calls may end its process."
    )
