"""The folder for what can be made again: generated data, features, tokens, hashes of big files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vlbench.errors import MissingError, told_by_system


def cache_folder() -> Path:
    """The folder as `cache_place` finds it; made if absent."""
    folder, _ = cache_place()
    with writing_cache():
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def writing_cache() -> Iterator[None]:
    """Tell what the system refuses in the cache in one sentence: where, why, and another place."""
    try:
        yield
    except OSError as error:
        folder, source = cache_place()
        raise MissingError(
            f"{told_by_system(error, folder)}: the cache, {folder} ({source}), cannot be written. "
            "VLBENCH_CACHE names another place."
        ) from None


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
