"""Every error a user can meet, each with its exit code (docs/cli.md)."""

from __future__ import annotations

import difflib
import errno
import traceback
from collections.abc import Iterable
from pathlib import Path

BUG = 5
"""Exit code of what vlbench cannot explain."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""
UNREAD = 141
"""Exit code where the reader of the answer has left, as a shell reports SIGPIPE."""
BAD_NAMES = {errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ}
"""Error numbers of a path that can be no file's."""
DAMAGE = {
    *("ArrowException", "BadZipFile", "EOFError", "JSONDecodeError", "SafetensorError"),
    *("TOMLDecodeError", "UnicodeError", "UnpicklingError"),
}
"""Classes, by name, that libraries raise for contents of another form."""
OUT_OF_MEMORY = ("allocate memory", "error: out of memory", "STATUS_ALLOC_FAILED", "Storage size")
"""Words of a RuntimeError about memory: on the CPU, in the CUDA driver, in cuBLAS and cuDNN."""


class VlbenchError(Exception):
    """A failure that vlbench explains in one message; anything else is a bug in vlbench."""

    exit_code = 1


class RunFailed(VlbenchError):
    """A run ended without a result."""


class JavaFailed(RunFailed):
    """The Java of a caption scorer died or gave no answer."""

    exit_code = 3


class WorseThanAllowed(VlbenchError):
    """The gate of `vlbench compare` found a drop, or a number that is lost."""


class UsageError(VlbenchError):
    """The command's words do not fit: an unknown name, option or value."""

    exit_code = 2


class CardError(UsageError):
    """A card cannot be read or does not say what a card must say."""


class MissingError(VlbenchError):
    """Data, weights, Java or an extra is missing."""

    exit_code = 3


class DataError(MissingError):
    """A data file exists but a record in it is faulty."""


class NothingToReport(VlbenchError):
    """There is nothing to report or to compare."""

    exit_code = 4


def explain(error: BaseException, folder: Path | None = None) -> VlbenchError | None:
    """Turn an error about files, memory or other programs into one of ours; None for a bug.

    `folder` is where vlbench wrote, for an error of the system that names no file.
    """
    if isinstance(error, VlbenchError):
        return error
    names = {kind.__name__ for kind in type(error).__mro__}
    text = " ".join(str(error).split())
    if isinstance(error, OSError):
        return _refused_by_system(error, text, folder)
    if "embedded null" in text or text.startswith(("Symlink loop", "Could not determine home")):
        return UsageError(f"A path cannot be used: {text}.")
    frames = list(traceback.walk_tb(error.__traceback__))
    where = f" (in {frames[-1][0].f_code.co_filename}, line {frames[-1][1]})" if frames else ""
    if is_out_of_memory(error) or text == "can't start new thread":
        return MissingError(f"There is too little memory{where}: {text or 'none is left'}.")
    if isinstance(error, RecursionError):
        return DataError(f"What was read is nested too deeply{where}.")
    if names & DAMAGE or "integer string conversion" in text:
        return DataError(f"A file or a text is damaged{where}: {text or 'it ends early'}.")
    if isinstance(error, ImportError) and not (error.name or "").startswith("vlbench"):
        return MissingError(f"A package cannot be imported: {text}. vlbench doctor lists them.")
    if "SubprocessError" in names:
        return MissingError(f"Another program failed: {text}")
    return UsageError(whose_exit(error)) if isinstance(error, SystemExit) else None


def _refused_by_system(error: OSError, text: str, folder: Path | None) -> VlbenchError | None:
    if error.errno == errno.EPIPE:  # the reader left: no error
        return None
    file = str(error.filename2 or error.filename or folder or "")
    where = f"{file[:200]}{'...' * (len(file) > 200)}: " if file else ""
    message = f"{where}{error.strerror or text or type(error).__name__}."
    if error.errno in BAD_NAMES:
        return UsageError(f"{message} Name another path.")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        message += " Make room there, or name a place on another disk."
    return MissingError(message)


def system_message(error: OSError, path: object) -> str:
    """Which file the system refused, or `path` where it names none, and why."""
    return f"{error.filename2 or error.filename or path}: {error.strerror or error}"


def whose_exit(error: SystemExit) -> str:
    """Name the code that wanted the process to end: vlbench's own raises errors."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{frame.filename}, line {frame.lineno}: SystemExit({error.code!r}) was raised there, and "
        "no code that vlbench calls may end its process."
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the device (torch's own class) or of the machine."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest valid name, where there is one, and all that are valid."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    guess = f"Did you mean '{close[0]}'? " if close else ""
    return f"{guess}Known: {', '.join(names)}."
