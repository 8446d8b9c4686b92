"""Code that is named as `module:name`: ours in the tables, outside code in cards and commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from vlbench.errors import UsageError, VlbenchError, nearest


def load(name: str, target: str = "", folder: Path | None = None) -> Any:
    """Return the object at `target`, `module:attribute`, that a card or command calls `name`.

    An outside module is looked for where Python looks, then in `folder`, last in the current one.
    """
    module_name, _, attribute = (target or name).partition(":")
    package = module_name.partition(".")[0]
    try:
        if package and package not in sys.modules and PathFinder.find_spec(package) is None:
            FINDER.folders[package] = [*([str(folder.absolute())] if folder else []), ""]
        module = import_module(module_name)
        value = getattr(module, attribute, None)
    except VlbenchError:
        raise
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        is_outside = f"{module_name}.".startswith(f"{missing}.")
        hint = " Is it installed, or a file beside the card?" if is_outside else ""
        raise UsageError(f"'{name}': no module named '{missing}'.{hint}") from None
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"'{name}': importing '{module_name}' failed: {reason}") from error
    if value is None:
        hint = nearest(attribute, [public for public in vars(module) if public[:1] != "_"])
        raise UsageError(f"'{name}': module '{module_name}' has no '{attribute}'. {hint}")
    return value


class OutsideFinder:
    """Finds outside modules, and what these import, in folders that are not on `sys.path`.

    On `sys.path` the folders would serve whatever is imported later: a library's optional part that
    is not installed, say.
    """

    def __init__(self) -> None:
        self.folders: dict[str, Sequence[str]] = {}
        """Top-level module -> the folders to search for it; `""` is the current one."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        """Find a top-level module that was loaded, or that an outside module imports."""
        folders = self.folders.get(name) or self.folders.get(_importer(), ())
        spec = PathFinder.find_spec(name, folders) if folders and path is None else None
        if spec is not None:
            self.folders[name] = folders
        return spec


def _importer() -> str:
    """The top-level module whose code imports, beyond the calls of `importlib`."""
    frame: FrameType | None = sys._getframe(2)
    name = "importlib"
    while frame and name in ("importlib", "_frozen_importlib"):
        name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        frame = frame.f_back
    return name


FINDER = OutsideFinder()
sys.meta_path.append(FINDER)
