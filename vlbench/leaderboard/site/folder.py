"""The folder a site is written to: never one that holds something else, and nothing left behind.

`.vlbench-site` marks it and names every file that was written. What the user adds (a `CNAME`, a
`.git`) is not named there and stays.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from vlbench.errors import UsageError
from vlbench.files import is_temporary, remove_dead, write_atomically, writing

MARKER = ".vlbench-site"


class SiteFolder:
    """Writes the files of a site; `finish` takes away those of an earlier one that are gone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marker = folder / MARKER
        self._names: set[str] = set()
        self._claim()
        self._earlier = set(self.marker.read_text(encoding="utf-8").splitlines())
        for place in {(folder / name).parent for name in self._earlier if _is_inside(name)}:
            remove_dead(place)

    def write(self, name: str, content: str | bytes) -> None:
        """Write one file, whole or not at all; it is named in the marker before."""
        if name not in self._earlier | self._names:
            with self.marker.open("a", encoding="utf-8", newline="\n") as marker:
                marker.write(f"{name}\n")
        self._names.add(name)
        write_atomically(self.folder / name, content, is_flushed=False)

    def finish(self) -> None:
        """Remove the files of an earlier site that this one does not have."""
        for name in sorted(self._earlier - self._names):
            if _is_inside(name):
                (self.folder / name).unlink(missing_ok=True)
        write_atomically(self.marker, "".join(f"{name}\n" for name in sorted(self._names)))

    def _claim(self) -> None:
        """Make the folder, or see that it is empty or a site."""
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"--out {self.folder}: a file is there; a site is a folder.")
        remove_dead(self.folder)
        if self.marker.is_file():
            return
        if self.folder.is_dir() and not all(map(is_temporary, os.listdir(self.folder))):
            raise UsageError(
                f"--out {self.folder}: the folder holds something that is no site of vlbench "
                f"(there is no {MARKER} in it). Name a new or an empty folder."
            )
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.marker, "")


def _is_inside(name: str) -> bool:
    """Whether a name in a marker can be one of ours: relative, and nowhere upwards."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts
