"""Published rows as tables show them: below the measured ones, or apart where other things differ.

Each of these rows says by itself that it was published, and by whom: `full published [1]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vlbench.leaderboard.marks import AVERAGE
from vlbench.leaderboard.numbers import MINUS, NONE, deviation, number, percent, signed
from vlbench.leaderboard.paper import PaperRow
from vlbench.leaderboard.paper_rows import PaperPart, Published
from vlbench.leaderboard.sheets import Cell, Sheet, main_headings
from vlbench.leaderboard.summary import Board

DIFFERENCE_NOTE = (
    f"Measured {MINUS} [n]: a difference in points; edition, backbone, suite, metric and test split"
    " are the same."
)


def with_published(sheet: Sheet, board: Board, part: PaperPart) -> list[Sheet]:
    """The leaderboard with published rows in a section of their own, or in a sheet behind it."""
    if not part.rows:
        note = f"Published: no paper has rows of {board.suite} with these methods."
        return [replace(sheet, notes=[*sheet.notes, note])]
    sources = _sources(part.rows)
    lines = [line for each in part.rows for line in _lines(board, each, sources)]
    notes = _notes(part, sources)
    if not part.otherwise:
        sections = [*sheet.sections, lines]
        return [replace(sheet, sections=sections, notes=[*sheet.notes, *notes])]
    title = (
        f"Published: {board.suite} on {part.rows[0].row.backbone}, full edition: "
        f"{' and '.join(part.otherwise)}, not to be compared with what was measured here"
    )
    label = f"{board.suite} {part.rows[0].row.backbone} published"
    return [sheet, Sheet(title, main_headings(board), [lines], notes, label)]


def _sources(rows: Sequence[Published]) -> dict[str, int]:
    """What to say of the sources, with their numbers from 1."""
    texts = dict.fromkeys(_source(each.row) for each in rows)
    return {text: index for index, text in enumerate(texts, start=1)}


def _source(row: PaperRow) -> str:
    runner = "" if row.run_by == row.paper else f"; run by {row.run_by}"
    kind = "an ablation" if row.kind == "analysis" else "main results"
    return f"{row.paper}, {row.table}, {kind}{runner}. Read from: {row.strength}."


def _lines(board: Board, each: Published, sources: Mapping[str, int]) -> list[list[Cell]]:
    """The published row, and the difference below it where there is any."""
    index = sources[_source(each.row)]
    method = str(each.row.method)
    names = [*board.mains.values(), *([AVERAGE] if len(board.mains) > 1 else [])]
    published = [
        Cell(method, f" published [{index}]"),
        Cell(percent(each.row.trainable_percent)),
        *(_printed(each.row, name) for name in names),
        Cell(str(each.row.seeds)),
    ]
    if not each.differences:
        return [published]
    differences = [
        Cell(signed(each.differences[name]) if name in each.differences else NONE) for name in names
    ]
    label = Cell(method, f" measured {MINUS} [{index}]")
    return [published, [label, Cell(NONE), *differences, Cell(NONE)]]


def _printed(row: PaperRow, name: str) -> Cell:
    if name not in row.metrics:
        return Cell(NONE)
    return Cell(number(row.metrics[name].mean), deviation(row.metrics[name].std))


def _notes(part: PaperPart, sources: Mapping[str, int]) -> list[str]:
    notes = ["Published rows are papers' numbers, rounded; vlbench did not measure them."]
    notes += [DIFFERENCE_NOTE] if any(each.differences for each in part.rows) else []
    if part.incomparable:
        tasks = ", ".join(part.incomparable)
        notes.append(f"No difference for {tasks}: the papers' test split is another, or not whole.")
    return [*notes, *(f"[{index}] {text}" for text, index in sources.items())]
