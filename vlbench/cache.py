"""The folder for what can be made again: generated data, features, tokens, hashes of big files."""

from __future__ import annotations

import os
from pathlib import Path

from vlbench.errors import MissingError


def cache_folder() -> Path:
    """`VLBENCH_CACHE`, else `XDG_CACHE_HOME/vlbench`, else `~/.cache/vlbench`; made if absent."""
    folder = _place()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MissingError(
            f"{folder}: cannot make the cache folder: {error.strerror}. "
            "VLBENCH_CACHE names another place."
        ) from None
    return folder


def _place() -> Path:
    own = os.environ.get("VLBENCH_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    home = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(home):  # the XDG standard: a relative path counts as unset
        return Path(home) / "vlbench"
    return Path.home() / ".cache" / "vlbench"
