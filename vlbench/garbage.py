"""Python's garbage collector, kept from walking through a million objects that stay."""

from __future__ import annotations

import atexit
import gc

RARE = 100_000
"""Objects made, and not freed, between two collections; Python's own number is 700 to 2,000."""
_usual: list[tuple[int, int, int]] = []
"""The thresholds to go back to, where they were changed."""


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
