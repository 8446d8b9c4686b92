"""The program itself: how signals end it, and what they do to one that has ended."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import atexit, os, signal, sys
import vlbench.cli.app
from vlbench.__main__ import main

class Last:
    def __del__(self, end=os.kill, pid=os.getpid()):
        end(pid, {number})

signal.signal(signal.SIGINT, signal.default_int_handler)
vlbench.cli.app.main = lambda: {does}
kept = Last()
atexit.register(os.kill, os.getpid(), {number})
main()
"""


def ended(number: int, does: str) -> subprocess.CompletedProcess[str]:
    """A program whose command line does this; the signal comes again in its last moments."""
    program = PROGRAM.format(number=int(number), does=does)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 3)])
def test_a_command_that_has_ended_keeps_its_exit_code_whatever_signal_comes(
    number: int, code: int
) -> None:
    done = ended(number, f"sys.exit({code})")
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_quietly(number: int) -> None:
    done = ended(number, f"os.kill(os.getpid(), {int(number)})")
    assert (done.returncode, done.stderr) == (130, "")
