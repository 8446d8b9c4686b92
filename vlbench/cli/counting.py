"""Progress of work that counts: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vlbench.cli.output import note, stderr_console

LINE_SECONDS = 10.0
"""Off a terminal a line at most this often."""
Count = Callable[[int, int], None]
"""Told (done, all)."""


@contextmanager
def counting(unit: str) -> Iterator[Count]:
    """Shows what it is told as long as the block runs."""
    if not sys.stderr.isatty():
        yield _lines(unit)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr_console()) as bars:
        bar = bars.add_task(unit, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def _lines(unit: str) -> Count:
    """The first count, the last one, and some between."""
    started = last = time.monotonic()
    begun_at: int | None = None

    def tell(done: int, total: int) -> None:
        nonlocal last, begun_at
        now = time.monotonic()
        if begun_at is None:
            begun_at = done
        elif now - last < LINE_SECONDS and done != total:
            return
        last = now
        rate = (done - begun_at) / max(now - started, 1e-9)
        left = f", {rate:.1f} a second, {(total - done) / rate:.0f} s left" if rate else ""
        note(f"{done:,} of {total:,} {unit}{left}")

    return tell
