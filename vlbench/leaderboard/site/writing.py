"""Writes the site: pictures and pages of methods and tasks, and last the page that leads to them.

The same results give the same bytes: no page says when it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vlbench import __version__
from vlbench.files import writing
from vlbench.leaderboard.marks import BELOW
from vlbench.leaderboard.site.folder import SiteFolder
from vlbench.leaderboard.site.index_page import make_table
from vlbench.leaderboard.site.method_page import make_method
from vlbench.leaderboard.site.published import published
from vlbench.leaderboard.site.source import Source
from vlbench.leaderboard.site.task_page import make_task
from vlbench.leaderboard.summary import Board

HERE = Path(__file__).resolve().parent
STATIC = ("site.css", "site.js", "icon.svg")
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
"""What a page may load: files of the site and nothing else, whatever a prediction says."""


def write_site(
    boards: Sequence[Board],
    results: Path,
    out: Path,
    say: Callable[[str], None] = lambda _: None,
    has_media: bool = True,
) -> Path:
    """Write the site of these boards, whose runs lie in `results`, to the folder `out`.

    Without media no example has its pictures or clips, and the mini edition is not made for them.
    Files of an earlier site that are gone from this one are removed; a folder that holds anything
    else is refused. Returns the first page.
    """
    folder = SiteFolder(out)
    with writing(out):
        _write(boards, Source(boards, results, folder, say, has_media), folder)
    return out / "index.html"


def _write(boards: Sequence[Board], source: Source, folder: SiteFolder) -> None:
    layout, pages = source.layout, _templates()
    for name in STATIC:
        folder.write(name, (HERE / "static" / name).read_bytes())
    methods, tasks = pages.get_template("method.html"), pages.get_template("task.html")
    for method in layout.methods:
        page = methods.render(root="../", page=make_method(method, source), layout=layout)
        folder.write(layout.method_page(method), page)
    for task in layout.tasks:
        page = tasks.render(root="../", page=make_task(task, source), layout=layout)
        folder.write(layout.task_page(task), page)
    context: dict[str, Any] = {
        "tables": [make_table(place, layout) for place in layout.places],
        "published": published(layout, source.papers),
        "runs": sum(run.is_done for board in boards for run in board.runs),
    }
    folder.write(
        "index.html", pages.get_template("index.html").render(root="", layout=layout, **context)
    )
    folder.finish()


@cache
def _templates() -> Environment:
    """The templates; every value in them is escaped."""
    pages = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    pages.globals.update(policy=POLICY, version=__version__, below=BELOW)
    return pages
