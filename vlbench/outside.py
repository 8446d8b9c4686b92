"""Code that is named as `module:name`: ours in the tables, outside code in cards and commands."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from vlbench.errors import UsageError, VlbenchError, nearest

CURRENT_FOLDER = ""
"""As Python's finders call it."""


def load(name: str, target: str = "", folder: Path | None = None) -> Any:
    """What a card or command calls `name`: the object at `target`, `module:attribute`.

    An outside module is looked for where Python looks, then in `folder`, last in the current one.
    """
    module_name, _, attribute = (target or name).partition(":")
    try:
        folders = [*([str(folder.absolute())] if folder else []), CURRENT_FOLDER]
        with FOLDERS.open_to(module_name.partition(".")[0], folders):
            module = import_module(module_name)
        found = getattr(module, attribute, None)
    except VlbenchError:
        raise
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        is_it = f"{module_name}.".startswith(f"{missing}.")
        hint = "Is it installed, or a file beside the card?" if is_it else ""
        raise UsageError(f"'{name}': no module named '{missing}'. {hint}".rstrip()) from None
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"'{name}': importing '{module_name}' failed: {type(error).__name__}: {error}"
        ) from error
    if found is None:
        public = [each for each in vars(module) if not each.startswith("_")]
        raise UsageError(
            f"'{name}': module '{module_name}' has no '{attribute}'. {nearest(attribute, public)}"
        )
    return found


class OutsideFolders:
    """Finds modules of folders that are not on `sys.path`, for outside modules alone.

    On `sys.path` the folders would serve whatever is imported later: a library's optional part that
    is not installed, say.
    """

    def __init__(self) -> None:
        self._folders: dict[str, Sequence[str]] = {}
        """Top-level module -> the folders it was looked for in, of those that were found there."""
        self._wanted: tuple[str, Sequence[str]] = ("", ())

    @contextmanager
    def open_to(self, module: str, folders: Sequence[str]) -> Iterator[None]:
        """While this lasts, look for this top-level module in the folders."""
        if self not in sys.meta_path:
            sys.meta_path.append(self)
        self._wanted = (module, folders)
        try:
            yield
        finally:
            self._wanted = ("", ())

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        """A top-level module that is wanted, or that one found here imports, also later."""
        wanted, folders = self._wanted
        if name != wanted:
            folders = self._folders.get(_importer(), ())
        spec = PathFinder.find_spec(name, folders) if folders and path is None else None
        if spec is not None:
            self._folders[name] = folders
        return spec


FOLDERS = OutsideFolders()


def _importer() -> str:
    """The top-level module whose code imports something, beyond the calls of `importlib`."""
    frame = sys._getframe(2)
    while (name := _top(frame)) in ("importlib", "_frozen_importlib") and frame.f_back:
        frame = frame.f_back
    return name


def _top(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
