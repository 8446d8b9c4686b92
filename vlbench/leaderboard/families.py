"""Tables by question family: what a method can do, and what always guessing would score."""

from __future__ import annotations

from dataclasses import replace

from vlbench.leaderboard.marks import BELOW
from vlbench.leaderboard.numbers import NONE, number, short_metric
from vlbench.leaderboard.sheets import Cell, Heading, Sheet, label, title
from vlbench.leaderboard.summary import Board, Row

ALL = ""
"""The family that is all examples."""
NOTE = f"Mean over seeds; {BELOW} marks what is at or below the family's majority answer."


def family_sheets(board: Board) -> list[Sheet]:
    """A table per task that has question families; what there is more of stands in the rows."""
    sheets = []
    for task, metric in board.mains.items():
        families = sorted(name for each, name in board.families if each == metric and name)
        if not families:
            continue
        name = f"{title(board)}: {task} {short_metric(metric, task)} by family"
        rows_are_methods = len(board.rows) > len(families)
        make = _by_method if rows_are_methods else _by_family
        sheet = make(board, metric, families, name)
        sheets.append(replace(sheet, label=f"{label(board)} {task} families"))
    return sheets


def _by_family(board: Board, metric: str, families: list[str], name: str) -> Sheet:
    """A row per family, a column per method."""
    headings = [Heading("family"), Heading("examples", "n"), Heading("majority", "%")]
    headings += [Heading(row.label, "%") for row in board.rows]

    def line(family: str) -> list[Cell]:
        cells = [_value(board, row, metric, family) for row in board.rows]
        return [Cell(family or "all"), *_facts(board, metric, family), *cells]

    return Sheet(name, headings, [[line(family) for family in families], [line(ALL)]], [NOTE])


def _by_method(board: Board, metric: str, families: list[str], name: str) -> Sheet:
    """A row per method, a column per family."""
    columns = [*families, ALL]
    headings = [Heading("method"), *(Heading(family or "all", "%") for family in columns)]
    methods: list[list[Cell]] = []
    floors: list[list[Cell]] = []
    for row in board.rows:
        cells = [_value(board, row, metric, family) for family in columns]
        (floors if row.is_floor else methods).append([Cell(row.method, row.details), *cells])
    examples, majority = zip(*(_facts(board, metric, family) for family in columns), strict=True)
    floors.append([Cell("majority answer"), *majority])
    sections = [methods, floors, [[Cell("examples"), *examples]]]
    return Sheet(name, headings, [section for section in sections if section], [NOTE])


def _facts(board: Board, metric: str, family: str) -> tuple[Cell, Cell]:
    """A family's examples and its majority."""
    there = board.families.get((metric, family))
    examples = NONE if there is None else f"{there.n_examples:,}"
    return Cell(examples), Cell(number(_majority(board, metric, family)))


def _value(board: Board, row: Row, metric: str, family: str) -> Cell:
    mean, majority = row.stat(metric, family).mean, _majority(board, metric, family)
    return Cell(number(mean), "", mean is not None and majority is not None and mean <= majority)


def _majority(board: Board, metric: str, family: str) -> float | None:
    if not family:
        return board.majority[metric]
    return board.families[metric, family].majority
