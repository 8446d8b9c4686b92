"""The leaderboard as a folder of web pages that need no server, no network and no JavaScript.

It is written to no folder that holds something else. The same results give the same bytes: no page
says when it was made.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vlbench import __version__
from vlbench.errors import UsageError
from vlbench.files import is_temporary, remove_forgotten, write_atomically, writing
from vlbench.leaderboard.board import BELOW, Board
from vlbench.leaderboard.examples import Examples
from vlbench.leaderboard.site.pages import Site, sort_key
from vlbench.leaderboard.site.run_files import leaves

HERE = Path(__file__).resolve().parent
MARKER = ".vlbench-site"
"""Marks a site's folder and names every file that was written. What the user adds (a `CNAME`, a
`.git`) is not named there and stays."""
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
"""What a page may load: files of the site and nothing else, whatever a prediction says."""


def write_site(
    boards: Sequence[Board],
    examples: Examples,
    out: Path,
    say: Callable[[str], None] = lambda _: None,
    has_media: bool = True,
) -> Path:
    """Write the site of these boards, whose runs lie in the folder of `examples`, to `out`.

    Without media no example has its pictures or clips, and the mini edition is not made for them.
    Returns the first page, which is written last.
    """
    folder = SiteFolder(out)
    with writing(out), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # browsers have it
        site = Site(boards, examples, folder.write, say, has_media)
        for file in sorted((HERE / "static").iterdir()):
            folder.write(file.name, file.read_bytes())
        template = _templates().get_template
        for method, page in site.methods.items():
            folder.write(page, template("method.html").render(site.method(method), root="../"))
        for task, page in site.tasks.items():
            folder.write(page, template("task.html").render(site.task(task), root="../"))
        folder.write("index.html", template("index.html").render(site.index(), root=""))
        folder.finish()
    return out / "index.html"


class SiteFolder:
    """Writes the files of a site; `finish` removes those of an earlier site that are gone."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.marker = folder, folder / MARKER
        self._names: set[str] = set()
        remove_forgotten(folder)
        names = os.listdir(folder) if folder.is_dir() else []
        if MARKER not in names and not all(map(is_temporary, names)):
            raise UsageError(
                f"--out {folder}: the folder holds something that is no site of vlbench "
                f"(there is no {MARKER} in it). Name a new or an empty folder."
            )
        with writing(folder):
            for name in ("methods", "tasks", "images", "charts"):
                remove_forgotten(folder / name)
            folder.mkdir(parents=True, exist_ok=True)
            with self.marker.open("a+", encoding="utf-8") as marker:
                marker.seek(0)
                self._earlier = set(filter(_is_inside, marker.read().splitlines()))

    def write(self, name: str, content: str | bytes) -> None:
        """Write one file, whole or not at all; the marker names it first."""
        if name not in self._earlier | self._names:
            with self.marker.open("a", encoding="utf-8", newline="\n") as marker:
                marker.write(f"{name}\n")
        self._names.add(name)
        write_atomically(self.folder / name, content, is_flushed=False)

    def finish(self) -> None:
        """Remove the files of an earlier site that this one does not have."""
        for name in self._earlier - self._names:
            (self.folder / name).unlink(missing_ok=True)
        write_atomically(self.marker, "".join(f"{name}\n" for name in sorted(self._names)))


def _is_inside(name: str) -> bool:
    """Whether a name in a marker can be one of ours: relative, and nowhere upwards."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


@cache
def _templates() -> Environment:
    spaces: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True}
    loader = FileSystemLoader(HERE / "templates")
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, **spaces)
    pages.filters |= {"sort_key": sort_key, "leaves": leaves}
    pages.globals |= {"policy": POLICY, "version": __version__, "below": BELOW}
    return pages
