"""Commands that messages suggest, spelt so that they work when they are typed."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

DEFAULT = Path("results")


def results_option(folder: Path) -> str:
    """The option that names a results folder, with a space in front; nothing for the default."""
    return "" if folder == DEFAULT else f" --results {quote(str(folder))}"
