"""The formats of tables: text, Markdown and LaTeX; and of a report: JSON and CSV."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import repeat
from typing import Any

import pandas as pd

from vlbench.leaderboard.board import AVERAGE, BELOW, BEST, FEWER, Board, Row, is_below_floor
from vlbench.leaderboard.paper import PaperPart, Papers
from vlbench.leaderboard.tables import MINUS, NONE, Cell, Table, board_notes, title
from vlbench.text import by_number, printable_json

LATEX_TABLE = r"""%% Needs \usepackage{booktabs} and \usepackage{graphicx}.
\begin{table}[htbp]
\centering
\caption{%s}
\label{tab:%s}
\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%%
\begin{tabular}{%s}
\toprule
%s
\bottomrule
\end{tabular}}
\par\smallskip\footnotesize\raggedright
%s
\end{table}
"""
LATEX_SIGNS = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "{}$&#_%"},
    **{"^": r"\^{}", "~": r"\~{}", "`": r"\`{}", '"': "''", "[": "{[}", "*": "{*}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"},
    **{
        FEWER: r"$^\circ$",
        "±": r"$\pm$",
        "\N{MULTIPLICATION SIGN}": r"$\times$",
        MINUS: "$-$",
        BELOW: r"$\downarrow$",
    },
    **{NONE: r"\textemdash{}", "\N{EN DASH}": r"\textendash{}", "…": r"\dots{}"},
}
"""What stands for a sign that LaTeX would read as something else, or lacks."""
FACTS = (
    "title", "technique", "sharing", "card_hash", "trainable_parameters", "total_parameters",
    "denominator",
)  # fmt: skip
PUBLISHED = ("method", "method_in_source", "backbone", "suite", "trainable_percent")
SOURCE = ("paper", "table", "kind", "strength", "run_by")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula begins with, in full width too."""


def as_text(tables: Sequence[Table]) -> str:
    """Write the tables as plain text, neither wrapped nor cut."""
    return "\n".join(map(_text_table, tables))


def _text_table(table: Table) -> str:
    heads = [[column.name for column in table.columns], [column.unit for column in table.columns]]
    texts = [[_text(cell) for cell in row] for section in table.sections for row in section]
    lines = ["   ".join(cells).rstrip() for cells in _aligned([*heads, *texts])]
    page = [table.title, "", *lines[:2], "─" * max(map(len, lines))]
    for section in table.sections:
        page += [*lines[2 : 2 + len(section)], ""]
        del lines[2 : 2 + len(section)]
    return "\n".join([*page, *table.notes, ""])


def _text(cell: Cell) -> str:
    return BEST * cell.is_best + BELOW * cell.is_below + cell.text + cell.tail


def _aligned(rows: Sequence[Sequence[str]], least: int = 0) -> list[list[str]]:
    """Cells padded to the width of their column: the first to the left, others to the right."""
    columns = [
        [cell.rjust(width) if n else cell.ljust(width) for cell in column]
        for n, column in enumerate(zip(*rows, strict=True))
        if (width := max(least, *map(len, column)))
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def as_markdown(tables: Sequence[Table]) -> str:
    """Write the tables as Markdown."""
    return "\n".join(map(markdown_table, tables))


def markdown_table(table: Table, level: int = 3) -> str:
    """Write title, table and notes in GitHub's Markdown, the source aligned as well.

    No line can part sections there, so names of later ones are in italics.
    """
    rows = [[escape(f"{name} {unit}".strip()) for name, unit in table.columns]]
    for index, section in enumerate(table.sections):
        for name, *cells in section:
            mark = "*" * bool(index)
            rows.append([f"{mark}{_markdown(name)}{mark}", *map(_markdown, cells)])
    grid = _aligned(rows, least=3)
    dashes = ["-" * len(text) for text in grid[0]]
    grid.insert(1, [dashes[0], *(text[:-1] + ":" for text in dashes[1:])])
    lines = [f"| {' | '.join(line)} |" for line in grid]
    notes = [f"- {escape(note)}" for note in table.notes]
    return "\n".join([f"{'#' * level} {escape(table.title)}", "", *lines, "", *notes, ""])


def _markdown(cell: Cell) -> str:
    number = escape(BELOW * cell.is_below + cell.text)
    return (f"**{number}**" if cell.is_best else number) + escape(cell.tail)


def escape(text: str) -> str:
    """Escape text that Markdown would read as something else."""
    return " ".join(re.sub(r"([\\|*_<`\[~&$])", r"\\\1", text).splitlines())


def as_latex(tables: Sequence[Table]) -> str:
    """Write each table as a `table` environment with booktabs, to be `\\input` into a paper."""
    return "\n".join(map(_latex_table, tables))


def latex(text: str) -> str:
    """Escape text so that LaTeX prints it as it is; signs that fonts lack stand by their number."""
    plain = " ".join(text.split())
    known = (
        x if (x.isascii() and x.isprintable()) or x in LATEX_SIGNS else by_number(x) for x in plain
    )
    return "".join(LATEX_SIGNS.get(x, x) for x in "".join(known)).replace("--", "-{}-")  # no dash


def _latex_table(table: Table) -> str:
    heads = [f"{latex(name)} {latex(unit)}".strip() for name, unit in table.columns]
    lines = [" & ".join(heads) + r" \\"]
    for section in table.sections:
        lines.append("\\midrule")
        for row in section:
            lines.append(" & ".join(map(_latex_cell, row)) + r" \\")
    label = re.sub("[^a-z0-9]+", "-", table.label.lower()).strip("-")
    columns = "l" + "r" * (len(heads) - 1)
    notes = "\n".join(f"{latex(note)}\\par" for note in table.notes)
    return LATEX_TABLE % (latex(table.title), label, columns, "\n".join(lines), notes)


def _latex_cell(cell: Cell) -> str:
    text = f"\\textbf{{{latex(cell.text)}}}" if cell.is_best else latex(cell.text)
    return f"{LATEX_SIGNS[BELOW] * cell.is_below}{text} {latex(cell.tail)}".rstrip()


def as_json(
    boards: Sequence[Board], families: bool = False, costs: bool = False, papers: Papers = ()
) -> str:
    """Write items, titles and notes of the boards and, with `papers`, published rows as JSON."""
    document: dict[str, Any] = {
        "schema": "vlbench.report/1",
        "items": [_item(board, row, families, costs) for board in boards for row in board.rows],
        "boards": [
            _setup(board)
            | {"title": title(board), "notes": board_notes(board)}
            | {"normalised": board.ruler and asdict(board.ruler)}
            for board in boards
        ],
    }
    if papers:
        parts = zip(boards, papers, strict=True)
        document["published"] = [item for pair in parts for item in _published_items(*pair)]
    return printable_json(document) + "\n"


def as_csv(
    boards: Sequence[Board], families: bool = False, costs: bool = False, papers: Papers = ()
) -> str:
    """Write what `as_json` does, a line an item, columns named by the keys on the way to a value.

    The column `origin` says what a line is: measured or published. Cells without a value are empty.
    Lines end as RFC 4180 has it. Text that a spreadsheet would take for a formula gets an
    apostrophe in front; numbers stay numbers.
    """
    items: list[dict[str, Any]] = []
    for board, part in zip(boards, papers or repeat(None), strict=False):
        for row in board.rows:
            item = _item(board, row, families, costs)
            items.append({"origin": "measured"} | item | {"runs": list(row.runs.values())})
        published = _published_items(board, part) if part else []
        items += [{"origin": "published"} | item for item in published]
    lines = [{_csv_cell(name): _csv_cell(value) for name, value in _leaves(i)} for i in items]
    text: str = pd.DataFrame(lines, dtype=object).to_csv(index=False, lineterminator="\r\n")
    return text


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values within tables by their dotted names, without `metrics.` in front."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, "" if name == "metrics" else f"{prefix}{name}.")
        elif value is not None:
            text = " ".join(map(str, value)) if isinstance(value, list) else value
            yield f"{prefix}{name}", text


def _csv_cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _setup(board: Board) -> dict[str, Any]:
    names = ("backbone", "suite", "edition", "scope", "limit", "apart")
    return {name: getattr(board, name) for name in names}


def _item(board: Board, row: Row, families: bool, costs: bool) -> dict[str, Any]:
    mains = [metric for task, metric in board.mains.items() if metric != task]
    metrics = dict.fromkeys([*mains, *(name for name, family in row.stats if not family)])
    item = {
        "method": row.method,
        **{name: getattr(board, name) for name in ("backbone", "suite", "edition", "scope")},
        "seeds": list(row.seeds),
        "trainable_percent": row.facts["trainable_percent"],
        "metrics": {name: row.stat(name)._asdict() for name in metrics},
        "average": row.average._asdict() if row.average.n and not board.is_part else None,
        "tie_group": row.ties.get(AVERAGE),
        "below_floor": is_below_floor(row),
        "normalised": row.normalised._asdict() if row.normalised.n else None,
        "mean_rank": row.mean_rank,
        "win_rate": row.win_rate,
        "n_trials": row.n_trials,
        "has_fewer_trials": row.has_fewer_trials,
        "tie_groups": dict(row.ties),
        "below_floor_metrics": sorted(row.below_floor),
        "tasks": list(board.mains),
        "majority": dict(board.majority),
        "limit": board.limit,
        "split": "test",
        "settings": row.settings,
        "init": row.init,
        **{name: row.facts[name] for name in FACTS},
        "runs": {str(seed): key for seed, key in row.runs.items()},
        "data": {task: ground._asdict() for task, ground in board.grounds.items()},
    }
    if costs:
        item["costs"] = {name: stat._asdict() for name, stat in row.costs.items()}
    if families:
        item["families"] = {}
        for (metric, name), family in board.families.items():
            if name:
                values = family._asdict() | row.stat(metric, name)._asdict()
                item["families"].setdefault(metric, {})[name] = values
    return item


def _published_items(board: Board, part: PaperPart) -> list[dict[str, Any]]:
    items = []
    for row, differences in part.rows:
        item = {name: getattr(row, name) for name in PUBLISHED}
        printed = {name: value._asdict() for name, value in row.metrics.items()}
        item |= {"edition": "full", "n_seeds": row.seeds, "average": printed.pop(AVERAGE, None)}
        item |= {"metrics": printed, "source": {name: getattr(row, name) for name in SOURCE}}
        item |= {"shown_with": _setup(board), "not_comparable": list(part.otherwise)}
        items.append(item | {"difference": dict(differences) or None})
    return items
