"""The collector's pace, in processes of its own."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc
from vlbench.process import RARE, collect_as_usual, collect_rarely

gc.set_threshold(RARE)  # somebody else's choice
collect_as_usual()
assert gc.get_threshold()[0] == RARE and not gc.get_freeze_count()
gc.set_threshold(5_000)
usual = gc.get_threshold()
collect_rarely()
assert gc.get_threshold()[0] == RARE
collect_as_usual()
assert gc.get_threshold() == usual and gc.get_freeze_count() > 1000
"""


def test_garbage_is_collected_rarely_until_a_process_computes() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


def test_the_main_program_and_the_worker_begin_with_it() -> None:
    for program in (
        "import sys; sys.argv = ['vlbench', '--help']; from vlbench.__main__ import main; main()",
        "from vlbench.worker import main; main(['nowhere'], has_signals=True)",
    ):
        told = (
            f"import atexit, gc; atexit.register(lambda: print(gc.get_threshold()[0])); {program}"
        )
        done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True)
        assert done.stdout.splitlines()[-1] == "100000", done.stderr
