"""The report in LaTeX: it compiles as it is, and within a paper."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.leaderboard.boards import METRICS, boards_of, official, three_methods, tied
from tests.leaderboard.builders import image_text, row
from vlbench.leaderboard.formats import LATEX_LINES as LINES
from vlbench.leaderboard.formats import as_latex
from vlbench.leaderboard.formats import latex as escape
from vlbench.leaderboard.paper import paper_parts
from vlbench.leaderboard.tables import MINUS, Cell, Column, Table, report_tables

needs_latex = pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="no pdflatex (Debian: texlive-latex-recommended)"
)
PAPER = r"""\documentclass[twocolumn]{article}
\usepackage{booktabs}
\usepackage{graphicx}
\begin{document}
Before \input{report}
After
\end{document}
"""


def compile_it(folder: Path, name: str, text: str) -> str:
    """Compile a document; its log, without line breaks within a message."""
    (folder / f"{name}.tex").write_text(text, encoding="utf-8")
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
    done = subprocess.run(words, cwd=folder, capture_output=True, timeout=60)
    log = (folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert (folder / f"{name}.pdf").is_file()
    return log


def faults(log: str) -> list[str]:
    """What LaTeX complains about, apart from references that a second run would settle."""
    found = re.findall(r"^(?:Overfull|Underfull|.*Warning|Missing character).*$", log, re.MULTILINE)
    return [line for line in found if "Label(s) may have changed" not in line]


@needs_latex
def test_every_table_compiles_without_a_complaint_also_within_a_paper(tmp_path: Path) -> None:
    best = {metric: 1 for metric in (*METRICS, "average")}
    boards = [tied(three_methods(tmp_path / "mini"), {"full": best, "frozen": best})]
    boards += boards_of(tmp_path / "full", official("shared-adapter", 66.4, 54.5, 73.2, 117.1))
    text = as_latex(report_tables(boards, True, True, paper_parts(boards)))
    assert faults(compile_it(tmp_path, "report", text)) == []
    assert faults(compile_it(tmp_path, "paper", PAPER)) == []


@needs_latex
def test_any_sign_in_a_name_compiles(tmp_path: Path) -> None:
    signs = "".join(map(chr, range(32, 0x180))) + "∑漢🙂\\input{x}%&#_^~--'`\"<>|\n"
    cells = [[Cell(signs[index : index + 30])] for index in range(0, len(signs), 30)]
    text = as_latex([Table("A & B", [Column("method")], [cells], ["100 % of $5_000"])])
    assert faults(compile_it(tmp_path, "report", text)) == []


def test_signs_are_escaped_and_what_fonts_lack_is_named() -> None:
    assert escape(r"50% \input{a_b} & #1 $x$ ~^") == (
        r"50\% \textbackslash{}input\{a\_b\} \& \#1 \$x\$ \~{}\^{}"
    )
    assert escape(f"café — ±1 {MINUS}2 ↓") == r"café \textemdash{} $\pm$1 $-$2 $\downarrow$"
    assert escape("--init 漢\nb") == "-{}-init [U+6F22] b"


def test_numbers_and_deviations_are_columns_of_their_own(tmp_path: Path) -> None:
    runs = [image_text("full", 66 + seed, 58, 71, 112, seed=seed) for seed in range(2)]
    text = as_latex(report_tables(boards_of(tmp_path, *runs)))
    assert r"full & 4.00 & 66.5 & $\pm$0.7 & 58.0 & $\pm$0.0 &" in text
    assert r"\begin{tabular}{l r r@{\,}l r@{\,}l r@{\,}l r@{\,}l r@{\,}l r}" in text
    assert r"\label{tab:image-text-mini-bart}" in text
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{rule}") == 1


def test_labels_are_short_and_each_stands_for_one_table(tmp_path: Path) -> None:
    runs = [
        image_text("full", 66, 58, 71, 112),
        image_text("full", 66, 58, 71, 112, edition="full", key="a"),
        image_text("full", 66, 58, 71, 112, scope="smoke", limit=64, key="b"),
        image_text("full", 66, 58, 71, 112, scope="smoke", limit=32, key="c"),
        [row("full", "nlvr", 55.0, suite="image-text mini-bart smoke 2", key="d")],
    ]
    text = as_latex(report_tables(boards_of(tmp_path, *runs), costs=True))
    labels = re.findall(r"\\label\{tab:(.*)\}", text)
    assert len(labels) == len(set(labels)) == 10
    assert {"image-text-mini-bart", "image-text-mini-bart-costs"} <= {*labels}
    assert {"image-text-mini-bart-full", "image-text-mini-bart-smoke-2"} <= {*labels}


def test_a_table_longer_than_a_page_goes_on_in_another_with_the_notes_last() -> None:
    rows = [[Cell(f"m{index}"), Cell("1.0")] for index in range(LINES + 1)]
    headings = [Column("method"), Column("value", "%")]
    text = as_latex([Table("Title", headings, [rows], ["The note."])])
    first, second = text.split("\\end{table}")[:2]
    assert "The note." not in first
    assert "Title (continued)" in second and "The note." in second
    assert [part.count("& 1.0 ") for part in (first, second)] == [26, 25]
