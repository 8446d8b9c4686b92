"""Standard output and standard error that a locale, a full disk or a reader that left cannot break.

A sign that the encoding lacks is replaced. An answer that cannot be written ends the command: in
one line, or without a word where its reader has left. What is lost of standard error is ignored.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from typing import Any, TextIO

from vlbench.errors import UNREAD, MissingError

SIGNS = {"−": "-", "—": "-", "─": "-", "±": "+-", "×": "x", "↓": "v", "…": "...", "\xa0": " "}  # noqa: RUF001
"""What stands for the signs of our tables; any other is written as Python escapes it."""


class AnswerLost(BaseException):
    """Standard output cannot be written, and that has been said: no error of what was computed."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def guard_streams(has_answer: bool = True) -> None:
    """Replace the process's standard streams; only a program that starts calls this.

    Without an answer, as in a worker, what is lost of standard output is ignored as well; else
    AnswerLost goes up to the program.
    """
    codecs.register_error("vlbench", _replaced)
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file would get its number, and what is printed
            os.open(os.devnull, os.O_RDONLY if number == 1 else os.O_RDWR)
    sys.stdout = _guarded(sys.stdout, _Stream(1, has_answer))
    sys.stderr = _guarded(sys.stderr, _Stream(2, has_answer=False))


def flush_answer() -> None:
    """Write what is buffered while an error still has an exit code: at the end of a program."""
    try:
        sys.stdout.flush()
    except AnswerLost as lost:
        sys.exit(lost.exit_code)


class _Stream(io.FileIO):
    """A standard stream below its buffer."""

    def __init__(self, number: int, has_answer: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self._has_answer = has_answer

    def write(self, content: Any, /) -> int:
        """Write the content; AnswerLost where that fails and it is the answer."""
        try:
            return super().write(content)
        except OSError as error:
            if self._has_answer:
                self._has_answer = False  # what is still buffered fails again
                raise _lost(error) from None
            return len(content)


def _lost(error: OSError) -> AnswerLost:
    if error.errno == errno.EPIPE:
        return AnswerLost(UNREAD)
    why = "it is closed" if error.errno == errno.EBADF else error.strerror
    print(f"vlbench: standard output: the answer cannot be written: {why}.", file=sys.stderr)
    return AnswerLost(MissingError.exit_code)


def _guarded(stream: TextIO | None, raw: _Stream) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding if stream else None,
        errors="vlbench",
        line_buffering=raw.fileno() == 2 or raw.isatty(),
        write_through=isinstance(stream, io.TextIOWrapper) and stream.write_through,
    )


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """An error handler of `codecs`."""
    assert isinstance(error, UnicodeEncodeError)
    signs = error.object[error.start : error.end]
    escaped = (sign.encode("ascii", "backslashreplace").decode() for sign in signs)
    return "".join(map(SIGNS.get, signs, escaped)), error.end
