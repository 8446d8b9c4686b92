"""What is on the site and where: a page per method and task, an anchor per board and row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from vlbench.leaderboard.board import Board, Row
from vlbench.leaderboard.site.names import numbered, page_names, slug
from vlbench.leaderboard.tables import Sheet, main_sheet


@dataclass(frozen=True)
class Entry:
    """A row of a board, and where the site tells of it."""

    row: Row
    anchor: str
    page: str
    """From the top of the site."""

    @property
    def href(self) -> str:
        """The row's own part of its method's page."""
        return f"{self.page}#{self.anchor}"

    @property
    def key(self) -> str:
        """The run that stands for the row where one is enough: that of the first seed."""
        return self.row.runs[min(self.row.runs)] if self.row.runs else ""


@dataclass(frozen=True)
class Place:
    """A board, and where it stands on the first page."""

    board: Board
    anchor: str
    entries: Sequence[Entry]

    @cached_property
    def sheet(self) -> Sheet:
        """The table as text has it: its title and footnotes are the site's too."""
        return main_sheet(self.board)

    @cached_property
    def methods(self) -> list[Entry]:
        """The rows that are not there to be beaten, best first."""
        return [entry for entry in self.entries if not entry.row.is_floor]


class Layout:
    """The pages of a site made from boards."""

    def __init__(self, boards: Sequence[Board]) -> None:
        self.methods = page_names(row.method for board in boards for row in board.rows)
        self.tasks = page_names(task for board in boards for task in board.mains)
        anchors = numbered([_anchor(board) for board in boards])
        self.places = [
            Place(board, anchor, self._entries(board, anchor))
            for board, anchor in zip(boards, anchors, strict=True)
        ]

    def method_page(self, method: str) -> str:
        """The page of a method, from the top of the site."""
        return f"methods/{self.methods[method]}.html"

    def task_page(self, task: str) -> str:
        """The page of a task, from the top of the site."""
        return f"tasks/{self.tasks[task]}.html"

    @cached_property
    def by_method(self) -> dict[str, list[tuple[Place, Entry]]]:
        """Method -> its rows in all boards."""
        found: dict[str, list[tuple[Place, Entry]]] = {}
        for place in self.places:
            for entry in place.entries:
                found.setdefault(entry.row.method, []).append((place, entry))
        return found

    def _entries(self, board: Board, anchor: str) -> list[Entry]:
        """An anchor is the board's where the method has one row there, else numbered."""
        anchors = numbered([f"{row.method}#{anchor}" for row in board.rows])
        return [
            Entry(row, text.rpartition("#")[2], self.method_page(row.method))
            for row, text in zip(board.rows, anchors, strict=True)
        ]


def _anchor(board: Board) -> str:
    """`image-text-mini-bart-mini`, and what cut the data."""
    cut = "" if board.scope == "complete" else f" {board.scope} {board.limit or ''}"
    return slug(f"{board.suite} {board.backbone} {board.edition}{cut}") or "board"
