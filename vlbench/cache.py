"""The folder for what can be made again: generated data, features, tokens, hashes of big files."""

from __future__ import annotations

import os
from pathlib import Path

from vlbench.errors import MissingError


def cache_folder() -> Path:
    """The folder as `cache_place` finds it; made if absent."""
    folder, source = cache_place()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MissingError(
            f"{folder}: cannot make the cache folder ({source}): {error.strerror}. "
            "VLBENCH_CACHE names another place."
        ) from None
    return folder


def cache_place() -> tuple[Path, str]:
    """`VLBENCH_CACHE`, else `cache` of a configuration file, else `XDG_CACHE_HOME/vlbench`, else
    `~/.cache/vlbench`; and what says so."""
    own = os.environ.get("VLBENCH_CACHE")
    if own:
        return Path(own).expanduser().absolute(), "VLBENCH_CACHE"
    from vlbench.config import load_config

    config = load_config()
    if "cache" in config.values:
        return config.values["cache"], str(config.sources["cache"])
    home = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(home):  # the XDG standard: a relative path counts as unset
        return Path(home) / "vlbench", "XDG_CACHE_HOME"
    return Path.home() / ".cache" / "vlbench", "built-in"
