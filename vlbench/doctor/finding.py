"""One thing that `vlbench doctor` looked for."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that was looked for."""

    what: str
    is_there: bool
    found: str
    remedy: str = ""
    """What mends it, as one would type it where there is a command."""
    is_needed: bool = True
    """Whether the default run needs it."""
