r"""Tables in LaTeX: booktabs tables that stand in any paper, in a file that compiles as it is.

Only packages of Debian's texlive-latex-base and -recommended are used. A number and what stands
behind it are two columns with a fixed space between, so that means and deviations both align.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace

from vlbench.leaderboard.board import BELOW
from vlbench.leaderboard.tables import MINUS, NONE, Cell, Sheet
from vlbench.text import by_number

HEAD = r"""% Written by vlbench report --format latex; it compiles as it is, with pdflatex.
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
LINES = 50
"""Rows and lines of notes that fit a page; a longer table goes on in another."""
NOTE = 120
"""Characters in a line of notes."""
SHRINK = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Opens a box as wide as its content, or as the line where the content is wider."""

SIGNS = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "{}$&#_%"},
    "^": r"\^{}",
    "~": r"\~{}",
    "`": r"\`{}",
    '"': "''",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    MINUS: "$-$",
    NONE: r"\textemdash{}",
    "\N{EN DASH}": r"\textendash{}",
    "…": r"\dots{}",
    BELOW: r"$\downarrow$",
}
"""What stands for a sign that LaTeX would read as something else, or lacks."""
WESTERN = "ÆæØøŒœßŁł"
"""Letters besides those with an accent that every font encoding of LaTeX has."""


def as_latex(sheets: Sequence[Sheet]) -> str:
    """Write the tables as a LaTeX document that compiles as it is."""
    tables: dict[str, str] = {}
    for part in (part for sheet in sheets for part in _parts(sheet)):
        label = name = re.sub("[^a-z0-9]+", "-", part.label.lower()).strip("-")
        number = 1
        while label in tables:
            number += 1
            label = f"{name}-{number}"
        tables[label] = latex_table(part, label)
    return "\n".join([HEAD, *tables.values(), "\\vlbenchend\n"])


def latex_table(sheet: Sheet, label: str) -> str:
    """Write a floating table with caption, label and notes."""
    rows = [row for section in sheet.sections for row in section]
    is_double = [any(cell.tail for cell in cells) for cells in zip(*rows, strict=True)]
    is_double[0] = False
    columns = ["l", *("r@{\\,}l" if double else "r" for double in is_double[1:])]
    lines = [
        "\\begin{table}[htbp]",
        "\\centering",
        f"\\caption{{{escape(sheet.title)}}}",
        f"\\label{{tab:{label}}}",
        "\\par\\medskip",
        SHRINK,
        f"\\begin{{tabular}}{{{' '.join(columns)}}}",
        "\\toprule",
        *_head_lines(sheet, is_double),
        *_body_lines(sheet, is_double),
        "\\bottomrule",
        "\\end{tabular}}",
    ]
    if sheet.notes:
        lines += [
            "\\par\\smallskip",
            "\\begin{minipage}{\\linewidth}\\footnotesize\\raggedright",
            *(f"{escape(note)}\\par" for note in sheet.notes),
            "\\end{minipage}",
        ]
    return "\n".join([*lines, "\\end{table}\n"])


def escape(text: str) -> str:
    """Escape text so that LaTeX prints it as it is, whatever signs are in it."""
    written = "".join(_sign(sign) for sign in " ".join(text.split()))
    return written.replace("--", "-{}-")  # which would become a dash


def _sign(sign: str) -> str:
    """A sign that any font has; any other one by its number, as no font for it may be there."""
    if sign in SIGNS:
        return SIGNS[sign]
    has_accent = "À" <= sign <= "ÿ" and "A" <= unicodedata.normalize("NFD", sign)[0] <= "z"
    return sign if " " <= sign <= "~" or has_accent or sign in WESTERN else by_number(sign)


def _parts(sheet: Sheet) -> Iterator[Sheet]:
    """The sheet in pages that are about as long; the notes stand below the last."""
    lines = [(index, row) for index, section in enumerate(sheet.sections) for row in section]
    notes = sum(math.ceil(len(note) / NOTE) for note in sheet.notes)
    pages = math.ceil((len(lines) + notes) / LINES)
    step = math.ceil((len(lines) + notes) / pages)
    for start in range(0, len(lines), step):
        part = lines[start : start + step]
        is_last = start + step >= len(lines)
        yield replace(
            sheet,
            title=f"{sheet.title} (continued)" if start else sheet.title,
            sections=[
                [row for place, row in part if place == index]
                for index in range(len(sheet.sections))
            ],
            notes=sheet.notes if is_last else ["Continued in the next table, with the notes."],
        )


def _head_lines(sheet: Sheet, is_double: Sequence[bool]) -> list[str]:
    """The headings, a word a line, and what they measure below them."""
    words = [heading.name.split() for heading in sheet.headings]
    height = max(map(len, words))
    columns = [
        [*[""] * (height - len(name)), *name, heading.unit]
        for name, heading in zip(words, sheet.headings, strict=True)
    ]
    lines = []
    for line in zip(*columns, strict=True):
        cells = [
            f"\\multicolumn{{2}}{{c}}{{{escape(text)}}}" if double else escape(text)
            for text, double in zip(line, is_double, strict=True)
        ]
        lines.append(" & ".join(cells) + r" \\")
    return lines


def _body_lines(sheet: Sheet, is_double: Sequence[bool]) -> list[str]:
    """The rows, with a rule before each section; names of later sections are in italics."""
    lines = []
    for index, section in enumerate(sheet.sections):
        lines += ["\\midrule"] if section else []
        for name, *cells in section:
            label = escape(name.text + name.tail)
            guard = "{}" if label[:1] in "[*" else ""
            first = f"\\textit{{{label}}}" if index else f"{guard}{label}"
            numbers = map(_cell, cells, is_double[1:])
            lines.append(" & ".join([first, *numbers]) + r" \\")
    return lines


def _cell(cell: Cell, is_double: bool) -> str:
    text = escape(cell.text)
    number = SIGNS[BELOW] * cell.is_below + (f"\\textbf{{{text}}}" if cell.is_best else text)
    return f"{number} & {escape(cell.tail.strip())}".rstrip() if is_double else number
