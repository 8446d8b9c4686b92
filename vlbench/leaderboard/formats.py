r"""The formats of tables: terminal and plain text, Markdown, LaTeX; and of a report: JSON and CSV.

LaTeX is a document of booktabs tables that compiles as it is, with packages of Debian's
texlive-latex-base and -recommended alone. A number and what stands behind it are two columns with a
fixed space between, so that means and deviations both align.
"""

from __future__ import annotations

import io
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, repeat
from typing import Any

import pandas as pd
import rich.table
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.text import Text

from vlbench.leaderboard.board import AVERAGE, BELOW, BEST, SETUP, Board, Row, is_below_floor
from vlbench.leaderboard.paper import PaperPart, Papers, Published
from vlbench.leaderboard.tables import MINUS, NONE, Cell, Table, board_notes, has_majority, title
from vlbench.text import by_number, printable_json

UNWRAPPED = 10_000
"""Columns of a page that never wraps or cuts a line."""
LAYOUTS = (
    *((3, False, False), (2, False, False), (2, True, False), (1, True, False)),
    *((2, True, True), (1, True, True)),
)
"""Characters between columns, whether long headings are broken, and whether deviations stand below
means: the first layout that fits is taken."""
LATEX_HEAD = r"""% Written by vlbench report --format latex; it compiles as it is, with pdflatex.
% In a paper: \input this file, or copy a table out of it; its preamble needs
%   \usepackage{booktabs}
%   \usepackage{graphicx}
\expandafter\ifx\csname @nodocument\endcsname\relax  % within a document: the tables alone
  \let\vlbenchend\relax
\else
  \documentclass{article}
  \usepackage{booktabs}
  \usepackage{graphicx}
  \usepackage[a4paper, margin=2.2cm]{geometry}
  \begin{document}
  \def\vlbenchend{\end{document}}
\fi
"""
LATEX_TABLE = r"""\begin{table}[htbp]
\centering
\caption{%s}
\label{tab:%s}
\par\medskip
\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%%
\begin{tabular}{%s}
\toprule
%s
\bottomrule
\end{tabular}}
%s\end{table}
"""
LATEX_NOTES = r"""\par\smallskip
\begin{minipage}{\linewidth}\footnotesize\raggedright
%s
\end{minipage}
"""
LATEX_LINES, LATEX_NOTE = 50, 120
"""Rows and lines of notes that fit a page, and characters in such a line."""
LATEX_SIGNS = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "{}$&#_%"},
    **{"^": r"\^{}", "~": r"\~{}", "`": r"\`{}", '"': "''"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"},
    **{"±": r"$\pm$", "\N{MULTIPLICATION SIGN}": r"$\times$", MINUS: "$-$", BELOW: r"$\downarrow$"},
    **{NONE: r"\textemdash{}", "\N{EN DASH}": r"\textendash{}", "…": r"\dots{}"},
}
"""What stands for a sign that LaTeX would read as something else, or lacks."""
WESTERN = "ÆæØøŒœßŁł"
"""Letters besides those with an accent that every font encoding of LaTeX has."""
FACTS = (
    "title", "technique", "sharing", "card_hash", "trainable_parameters", "total_parameters",
    "denominator",
)  # fmt: skip
FAMILY = ("mean", "std", "n", "majority", "n_examples")
PUBLISHED = ("method", "suite", "backbone", "edition", "n_seeds", "trainable_percent")
SOURCE = ("paper", "table", "kind", "strength", "run_by")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula begins with, in full width too."""


def print_tables(tables: Sequence[Table], console: Console) -> None:
    """Print titles, tables and notes; a table too wide in any layout comes in parts."""
    for index, table in enumerate(tables):
        console.print(*[""] * bool(index), Text(table.title, style="bold"), "", sep="\n")
        for part in _fitting(table, console):
            console.print(part, "", sep="\n")
        console.print(*(Text(note, style="dim") for note in table.notes), sep="\n")


def as_text(tables: Sequence[Table]) -> str:
    """Write the tables as plain text, neither wrapped nor cut."""
    page = io.StringIO()
    print_tables(tables, Console(file=page, width=UNWRAPPED, color_system=None))
    return "".join(f"{line.rstrip()}\n" for line in page.getvalue().splitlines())


def _fitting(table: Table, console: Console) -> list[rich.table.Table]:
    """The table in the widest layout that fits, or else columns of it as several tables."""
    free, others = console.options.update(width=UNWRAPPED), range(1, len(table.columns))
    parts: list[rich.table.Table] = []
    for n_parts in range(1, max(2, len(table.columns))):
        cuts = [len(others) * part // n_parts for part in range(n_parts + 1)]
        for layout in LAYOUTS if n_parts == 1 else LAYOUTS[-2:]:
            parts = [_drawn(table, [0, *others[a:b]], *layout) for a, b in pairwise(cuts)]
            widths = [Measurement.get(console, free, part).maximum for part in parts]
            if max(widths) <= console.width:
                return parts
    for part, width in zip(parts, widths, strict=True):
        part.width = width  # a single column is too wide: the line goes on beyond the edge
    return parts


def _drawn(
    table: Table, chosen: Sequence[int], gap: int, is_broken: bool, is_stacked: bool
) -> rich.table.Table:
    padding = (0, gap - 1, 0, 0)  # the box itself puts one character between columns
    drawn = rich.table.Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=padding)
    rows = [row for section in table.sections for row in section]
    widths = {} if is_stacked else {0: (0, 0)}  # of numbers and of tails, so that they align
    for n in chosen:
        name, unit = table.columns[n]
        if is_broken:
            name = name.replace(" (", "\n(").replace("-", "-\n").replace(" ", "\n")
        head = Text(name, style="bold").append(f"\n{unit}" if unit else "", style="not bold dim")
        drawn.add_column(head, justify="right" if n else "left", vertical="top", no_wrap=True)
        if n and not is_stacked:
            tail = max(cell_len(row[n].tail) for row in rows)
            room = max(map(cell_len, [*name.splitlines(), unit])) - tail
            widths[n] = max(room, *(cell_len(_marked(row[n])) for row in rows)), tail
    for section in table.sections:
        for row in section:
            drawn.add_row(*(_styled(row[n], *widths.get(n, (0, -1))) for n in chosen))
        drawn.add_section()
    return drawn


def _styled(cell: Cell, width: int, tail: int) -> Text:
    """A cell in the widths of its column's numbers and tails; without those, its tail below."""
    number, behind = _marked(cell), cell.tail.ljust(tail)
    if tail < 0:
        behind = f"\n{cell.tail.strip()}" if cell.tail else ""
    style = " ".join(["bold"] * cell.is_best + ["yellow"] * cell.is_below)
    text = Text.assemble((number, style)).append(behind, style="not bold dim")
    if tail >= 0:
        text.pad_left(max(0, width - cell_len(number)))
        text.justify = "left"  # rich would strip the room of a tail that is not there
    return text


def _marked(cell: Cell) -> str:
    return BEST * cell.is_best + BELOW * cell.is_below + cell.text


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
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    lines = []
    for first, *others in rows:
        padded = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        lines.append(f"| {' | '.join([first.ljust(widths[0]), *padded])} |")
    notes = [f"- {escape(note)}" for note in table.notes]
    return "\n".join([f"{'#' * level} {escape(table.title)}", "", *lines, "", *notes, ""])


def _markdown(cell: Cell) -> str:
    number = escape(BELOW * cell.is_below + cell.text)
    return (f"**{number}**" if cell.is_best else number) + escape(cell.tail)


def escape(text: str) -> str:
    """Escape text that Markdown would read as something else."""
    return " ".join(re.sub(r"([\\|*_<`\[~&$])", r"\\\1", text).splitlines())


def as_latex(tables: Sequence[Table]) -> str:
    """Write the tables as a LaTeX document that compiles as it is."""
    texts: dict[str, str] = {}
    for page in (page for table in tables for page in _pages(table)):
        label = name = re.sub("[^a-z0-9]+", "-", page.label.lower()).strip("-")
        number = 1
        while label in texts:
            number += 1
            label = f"{name}-{number}"
        texts[label] = _latex_table(page, label)
    return "\n".join([LATEX_HEAD, *texts.values(), "\\vlbenchend\n"])


def latex(text: str) -> str:
    """Escape text so that LaTeX prints it as it is; signs that fonts lack stand by their number."""

    def sign(sign: str) -> str:
        has_accent = "À" <= sign <= "ÿ" and "A" <= unicodedata.normalize("NFD", sign)[0] <= "z"
        is_plain = " " <= sign <= "~" or has_accent or sign in WESTERN
        return LATEX_SIGNS.get(sign) or (sign if is_plain else by_number(sign))

    return "".join(map(sign, " ".join(text.split()))).replace("--", "-{}-")  # no dash


def _pages(table: Table) -> Iterator[Table]:
    """The table in pages that are about as long; the notes stand below the last."""
    lines = [(index, row) for index, section in enumerate(table.sections) for row in section]
    length = len(lines) + sum(math.ceil(len(note) / LATEX_NOTE) for note in table.notes)
    step = math.ceil(length / math.ceil(length / LATEX_LINES))
    for start in range(0, len(lines), step):
        part = lines[start : start + step]
        sections = [[r for n, r in part if n == index] for index in range(len(table.sections))]
        is_last = start + step >= len(lines)
        notes = table.notes if is_last else ["Continued in the next table, with the notes."]
        heading = table.title + " (continued)" * bool(start)
        yield replace(table, title=heading, sections=sections, notes=notes)


def _latex_table(table: Table, label: str) -> str:
    rows = [row for section in table.sections for row in section]
    double = [any(cell.tail for cell in cells) for cells in zip(*rows, strict=True)]
    columns = ["l", *("r@{\\,}l" if is_double else "r" for is_double in double[1:])]
    words = [name.split() for name, _ in table.columns]
    height = max(map(len, words))
    heads = [  # a word a line, and the unit below them
        [*[""] * (height - len(name)), *name, unit]
        for name, (_, unit) in zip(words, table.columns, strict=True)
    ]
    lines = []
    for first, *texts in zip(*heads, strict=True):
        across = [
            f"\\multicolumn{{2}}{{c}}{{{latex(text)}}}" if is_double else latex(text)
            for text, is_double in zip(texts, double[1:], strict=True)
        ]
        lines.append(" & ".join([latex(first), *across]) + r" \\")
    for index, section in enumerate(table.sections):
        lines += ["\\midrule"] * bool(section)
        for name, *cells in section:
            text = latex(name.text + name.tail)
            guard = "{}" if text[:1] in "[*" else ""
            head = f"\\textit{{{text}}}" if index else f"{guard}{text}"
            lines.append(" & ".join([head, *map(_latex_cell, cells, double[1:])]) + r" \\")
    notes = "\n".join(f"{latex(note)}\\par" for note in table.notes)
    fields = (latex(table.title), label, " ".join(columns), "\n".join(lines))
    return LATEX_TABLE % (*fields, LATEX_NOTES % notes if notes else "")


def _latex_cell(cell: Cell, is_double: bool) -> str:
    text = latex(cell.text)
    number = LATEX_SIGNS[BELOW] * cell.is_below + (f"\\textbf{{{text}}}" if cell.is_best else text)
    return f"{number} & {latex(cell.tail.strip())}".rstrip() if is_double else number


def as_json(
    boards: Sequence[Board], families: bool = False, costs: bool = False, papers: Papers = ()
) -> str:
    """Write items, titles and notes of the boards and, with `papers`, published rows as JSON."""
    document: dict[str, Any] = {
        "schema": "vlbench.report/1",
        "items": [_item(board, row, families, costs) for board in boards for row in board.rows],
        "boards": [
            _setup(board) | {"title": title(board), "notes": board_notes(board)} for board in boards
        ],
    }
    if papers:
        document["published"] = [
            _published_item(published, board, part)
            for board, part in zip(boards, papers, strict=True)
            for published in part.rows
        ]
    return printable_json(document) + "\n"


def as_csv(
    boards: Sequence[Board], families: bool = False, costs: bool = False, papers: Papers = ()
) -> str:
    """Write every row of the boards, of the majority answers and, with `papers`, of the papers.

    The column `origin` says which: measured, computed (no run), published. Cells without a value
    are empty. Lines end as RFC 4180 has it. Text that a spreadsheet would take for a formula gets
    an apostrophe in front, as spreadsheets themselves write it; numbers stay numbers.
    """
    lines: list[dict[str, Any]] = []
    for board, part in zip(boards, papers or repeat(None), strict=False):
        setup = {name: getattr(board, name) for name in SETUP}
        lines += [_csv_line(board, row, setup, families, costs) for row in board.rows]
        if has_majority(board):
            head = {"origin": "computed", "method": "majority answer", **setup, "split": "test"}
            scores = {f"{name}.mean": s for name, s in board.majority.items() if s is not None}
            lines.append(head | scores)
        items = [_published_item(row, board, part) for row in part.rows] if part else []
        for item in items:
            printed = item["metrics"] | {AVERAGE: item["average"] or {}}
            stats = {name: stat | {"n": item["n_seeds"]} for name, stat in printed.items() if stat}
            source = item["source"] | {"method": item["method_in_source"]}
            differences = (item["difference"] or {}).items()
            lines.append(
                {"origin": "published", **{name: item[name] for name in PUBLISHED}}
                | _flat(stats | {"source": source})
                | {f"{name}.difference": value for name, value in differences}
            )
    cells = [{_csv_cell(name): _csv_cell(value) for name, value in line.items()} for line in lines]
    text: str = pd.DataFrame(cells, dtype=object).to_csv(index=False, lineterminator="\r\n")
    return text


def _setup(board: Board) -> dict[str, Any]:
    names = ("backbone", "suite", "edition", "scope", "limit", "apart")
    return {name: getattr(board, name) for name in names}


def _item(board: Board, row: Row, families: bool, costs: bool) -> dict[str, Any]:
    """A row of a board with all that is known of it, as JSON has it."""
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


def _csv_line(
    board: Board, row: Row, setup: dict[str, Any], families: bool, costs: bool
) -> dict[str, Any]:
    item = _item(board, row, families, costs)
    average = {} if board.is_part else {AVERAGE: row.average._asdict()}
    stats = average | item["metrics"]
    for name in {AVERAGE, *board.mains.values()} & stats.keys():
        is_below = name in row.below_floor if stats[name]["n"] else None
        stats[name] |= {"tie_group": row.ties.get(name), "below_floor": is_below}
    kinds = {
        f"{metric}[{name}]": {field: family[field] for field in FAMILY}
        for metric, by_name in item.get("families", {}).items()
        for name, family in by_name.items()
    }
    return {
        "origin": "measured",
        "method": row.method,
        **setup,
        **{name: item[name] for name in ("split", "settings", "init")},
        "seeds": " ".join(map(str, row.seeds)),
        "n_seeds": len(row.seeds),
        **{name: item[name] for name in ("trainable_percent", "below_floor", *FACTS)},
        "backbone_hash": row.facts["backbone_hash"],
        "data": " ".join(f"{task}={d['data_fingerprint']}" for task, d in item["data"].items()),
        "runs": " ".join(row.runs.values()),
        **_flat(stats | kinds | item.get("costs", {})),
    }


def _published_item(published: Published, board: Board, part: PaperPart) -> dict[str, Any]:
    """A published row, the board that it is shown with and what lies between them."""
    row = published.row
    printed = {name: value._asdict() for name, value in row.metrics.items()}
    return {
        "method": row.method,
        "method_in_source": row.method_in_source,
        "backbone": row.backbone,
        "suite": row.suite,
        "edition": "full",
        "n_seeds": row.seeds,
        "trainable_percent": row.trainable_percent,
        "metrics": {name: value for name, value in printed.items() if name != AVERAGE},
        "average": printed.get(AVERAGE),
        "source": {name: getattr(row, name) for name in SOURCE},
        "shown_with": _setup(board),
        "not_comparable": list(part.otherwise),
        "difference": dict(published.differences) or None,
    }


def _flat(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        f"{name}.{field}": value for name, table in tables.items() for field, value in table.items()
    }


def _csv_cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
