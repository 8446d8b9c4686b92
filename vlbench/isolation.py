"""The current folder is no place of Python modules: for this process, and for all it starts."""

from __future__ import annotations

import os
import sys


def isolate() -> None:
    """Take the current folder off this process's path and off its children's.

    Call it before anything is imported that the folder may hold.
    """
    environment, folder = isolated(dict(os.environ)), _current_folder()
    if not sys.flags.safe_path and sys.path[:1] in ([""], [folder]):
        del sys.path[0]  # `python -m` put it there
    if environment.get("PYTHONPATH") != os.environ.get("PYTHONPATH") and folder in sys.path:
        sys.path.remove(folder)
    os.environ.pop("PYTHONPATH", None)
    os.environ.update(environment)


def isolated(environment: dict[str, str]) -> dict[str, str]:
    """An environment in which no Python looks for modules in the current folder.

    An empty entry of PYTHONPATH means that folder, and so does `.`; its full path stays.
    """
    folder = _current_folder()
    entries = environment.get("PYTHONPATH", "").split(os.pathsep)
    kept = [each for each in entries if os.path.isabs(each) or os.path.abspath(each) != folder]
    others = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    path = {"PYTHONPATH": os.pathsep.join(kept)} if kept else {}
    return {**others, **path, "PYTHONSAFEPATH": "1"}


def _current_folder() -> str:
    """Its path; empty where it was deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""
