"""The tables of a report and their formats: what they say, marked, escaped."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.leaderboard.boards import METRICS, boards_of, official, three_methods, tied
from tests.leaderboard.builders import image_text, run
from vlbench.leaderboard.board import Board, is_best
from vlbench.leaderboard.formats import as_csv, as_json, as_latex, as_markdown, as_text, latex
from vlbench.leaderboard.paper import paper_parts
from vlbench.leaderboard.tables import (
    MINUS,
    Cell,
    Column,
    Table,
    family_tables,
    report_tables,
)

BEST = {metric: 1 for metric in (*METRICS, "average")}
SETUP = "image-text on mini-bart, mini edition, test split"
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


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Board:
    return three_methods(tmp_path_factory.mktemp("three"))


@pytest.fixture(scope="module")
def board(plain: Board) -> Board:
    """The same with `full` as the best of all columns."""
    return tied(plain, {"full": BEST, "frozen": {name: 2 for name in BEST}})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> list[Board]:
    """A method that papers have, on their data."""
    folder = tmp_path_factory.mktemp("official")
    return boards_of(folder, official("shared-adapter", 66.4, 54.5, 73.2, 117.1))


def words(line: str) -> str:
    """A line with single spaces."""
    return " ".join(line.split())


def line_of(lines: list[str], start: str) -> str:
    [line] = [line for line in lines if line.startswith(start)]
    return words(line)


def test_the_text_has_a_row_per_method_and_the_floors(plain: Board) -> None:
    text = as_text(report_tables([plain]))
    lines = text.splitlines()
    assert lines[0] == SETUP
    expected = "full 4.00 67.0 ±1.0 58.0 ±0.0 71.0 ±0.0 112.0 ±0.0 77.0 ±0.2 100.0 ±1.0 3"
    assert line_of(lines, "full ") == expected
    name = "shared-adapter (params.a_b=[1]|*)"
    assert line_of(lines, name) == f"{name} 4.00 64.0 ↓20.0 69.0 — — 3/4 — 3/4 1"
    assert line_of(lines, "majority") == "majority answer — 38.0 30.0 30.0 30.0 — — —"
    assert "seeds 0, 1, 2; shared-adapter (params.a_b=[1]|*): 0; frozen: 0." in text
    assert "vqav2 vqav2-of (500 examples)" in text
    assert "backbone + visual embedding + technique" in text
    text = as_text(report_tables([plain], costs=True)).split("costs\n")[1]
    full = line_of(text.splitlines(), "full ")
    assert full == "full 80,000 4.00 330.0 612 71.2 812 14.0"
    assert "Device: cpu." in text


@pytest.mark.parametrize(
    ("write", "texts"),
    [
        (as_text, ("*67.0 ±1.0", "↓20.0", "Bold, or *: the best")),
        (as_markdown, ("**67.0** ±1.0", "↓20.0", "Bold, or \\*: the best", "| *frozen* ")),
        (as_latex, (r"\textbf{67.0} $\pm$1.0", r"$\downarrow$20.0", "Bold, or {*}: the best")),
    ],
)
def test_every_format_has_the_marks_and_says_what_they_mean(
    board: Board, write: Callable[[list[Table]], str], texts: tuple[str, ...]
) -> None:
    text = write(report_tables([board]))
    assert [part for part in texts if part not in text] == []


def test_the_best_group_is_marked_but_for_floors_and_what_was_not_tested(plain: Board) -> None:
    def best(groups: dict[str, dict[str, int]]) -> list[str]:
        marked = tied(plain, groups)
        return [row.method for row in marked.rows if is_best(row, "average")]

    assert best({"full": {"average": 1}, "frozen": {"average": 1}}) == ["full"]
    assert best({"full": {"average": 2}, "frozen": {"average": 1}}) == []
    assert best({}) == []


def test_families_have_a_column_each_with_their_majority_and_examples(plain: Board) -> None:
    [table] = family_tables(plain)
    assert [name for name, _ in table.columns] == ["method", "how many", "is there", "all"]
    methods, floors, examples = [
        [[cell.text for cell in row] for row in rows] for rows in table.sections
    ]
    assert methods[0] == ["full", "70.0", "40.0", "67.0"]
    assert [cell.is_below for cell in table.sections[0][0]] == [False, False, True, False]
    assert [row[0] for row in floors] == ["frozen", "majority answer"]
    assert floors[1][1:] == ["20.0", "50.0", "38.0"]
    assert examples == [["examples", "200", "300", "500"]]


def test_published_rows_have_a_table_with_differences_where_the_protocols_match(
    shared: list[Board],
) -> None:
    _, table = report_tables(shared, papers=paper_parts(shared))
    lines = [words(line) for line in as_text([table]).splitlines()]
    at = lines.index("shared-adapter published [1] 4.18 65.9 54.5 74.2 114.9 77.4 1")
    expected = f"shared-adapter measured {MINUS} [1] — +0.5 0.0 {MINUS}1.0 +2.2 +0.4 —"
    assert lines[at + 1] == expected
    assert "shared-adapter published [2] 4.18 65.8 ±0.3 54.2 ±0.4 73.2 ±0.7" in lines[at + 2]
    notes = "\n".join(table.notes)
    for phrase in (
        "[1] VL-Adapter (CVPR 2022, arXiv 2112.06825), Table 1, main results. Read from:",
        "vlbench did not measure them",
        f"Measured {MINUS} [n]: a difference in points",
    ):
        assert phrase in notes


def csv_lines(boards: list[Board], **others: Any) -> list[dict[str, str]]:
    text = as_csv(boards, **others)
    assert text.count("\r\n") == text.count("\n")
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def test_csv_has_a_line_per_row_with_unrounded_numbers_and_empty_cells(
    board: Board, tmp_path: Path
) -> None:
    nlvr = boards_of(tmp_path, run("full", {"nlvr": 55.0}, suite="nlvr"))
    lines = csv_lines([board, *nlvr])
    full, shared, frozen, other = lines
    assert {line["origin"] for line in lines} == {"measured"}
    assert (full["method"], full["seeds"]) == ("full", "0 1 2")
    assert (full["vqav2.accuracy.mean"], full["vqav2.accuracy.std"]) == ("67.0", "1.0")
    assert float(full["average.mean"]) == board.rows[0].average.mean
    assert (full["tie_groups.average"], frozen["tie_groups.average"]) == ("1", "2")
    assert (full["below_floor"], shared["below_floor"]) == ("false", "true")
    assert shared["below_floor_metrics"] == "gqa.accuracy"
    assert shared["coco.cider.mean"] == shared["average.mean"] == frozen["gqa.accuracy.std"] == ""
    assert shared["settings"] == "params.a_b=[1]|*"
    assert full["majority.vqav2.accuracy"] == "38.0"
    assert (other["nlvr.accuracy.mean"], other["coco.cider.mean"]) == ("55.0", "")
    assert all(None not in line and None not in line.values() for line in lines)
    table = pd.read_csv(io.StringIO(as_csv([board], True, True)))
    assert table["vqav2.accuracy.mean"].dtype == "float64"
    assert table["costs.train_seconds.mean"][0] == 71.25
    assert table["families.vqav2.accuracy.is there.majority"][0] == 50.0


@pytest.mark.parametrize("start", [*"=+-@\t", "\uff1d"])
def test_text_cannot_be_a_formula_and_numbers_stay_numbers(board: Board, start: str) -> None:
    rows = [replace(row, method=f'{start}cmd|"x",1') for row in board.rows]
    result = csv_lines([replace(board, rows=rows)])
    assert result[0]["method"] == f'\'{start}cmd|"x",1'


KEYS = [
    "method", "backbone", "suite", "edition", "scope", "seeds", "trainable_percent", "metrics",
    "average", "tie_group", "below_floor",
]  # fmt: skip


def test_json_items_have_the_promised_keys_first_and_exact_numbers(plain: Board) -> None:
    groups = {"full": {"average": 1, "gqa.accuracy": 1}, "frozen": {"average": 2}}
    read = json.loads(as_json([tied(plain, groups)]))
    assert read["schema"] == "vlbench.report/1"
    assert "published" not in read
    full, shared, frozen = read["items"]
    assert list(full)[: len(KEYS)] == KEYS
    values = ["full", "mini-bart", "image-text", "mini", "complete", [0, 1, 2], 4.0]
    assert [full[key] for key in KEYS[:7]] == values
    assert full["metrics"]["vqav2.accuracy"] == {"mean": 67.0, "std": 1.0, "n": 3}
    assert full["metrics"]["coco.bleu_4"] == {"mean": 30.0, "std": 0.0, "n": 3}
    assert full["average"]["mean"] == (67 + 58 + 71 + 112) / 4
    assert full["runs"] == {str(seed): f"full--mini-{seed}" for seed in range(3)}
    assert frozen["metrics"]["gqa.accuracy"] == {"mean": 38.0, "std": None, "n": 1}
    assert shared["average"] is None
    assert shared["metrics"]["coco.cider"] == {"mean": None, "std": None, "n": 0}
    assert "families" not in full and "costs" not in full
    assert (full["tie_group"], shared["tie_group"], frozen["tie_group"]) == (1, None, 2)
    assert full["tie_groups"] == {"average": 1, "gqa.accuracy": 1}
    assert (full["below_floor"], full["below_floor_metrics"]) == (False, [])
    assert (shared["below_floor"], shared["below_floor_metrics"]) == (True, ["gqa.accuracy"])
    [entry] = read["boards"]
    assert entry["title"] == SETUP
    assert any(note.startswith("Bold, or *") for note in entry["notes"])
    full = json.loads(as_json([plain], True, True))["items"][0]
    expected = {"n_examples": 300, "majority": 50.0, "mean": 40.0, "std": 0.0, "n": 3}
    assert full["families"]["vqav2.accuracy"]["is there"] == expected
    assert full["costs"]["train_seconds"]["mean"] == 71.25


def complaints(folder: Path, text: str) -> list[str]:
    """What LaTeX says of tables within a paper, apart from references for a second run."""
    (folder / "report.tex").write_text(text, encoding="utf-8")
    (folder / "paper.tex").write_text(PAPER, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=60)
    log = (folder / "paper.log").read_text(encoding="utf-8", errors="replace")
    assert done.returncode == 0, log[-2000:]
    result = re.findall(
        r"^(?:Overfull|Underfull|.*Warning|Missing character).*$", log, re.MULTILINE
    )
    return [line for line in result if "Label(s) may have changed" not in line]


@needs_latex
def test_every_table_compiles_without_a_complaint_whatever_its_names(
    board: Board, shared: list[Board], tmp_path: Path
) -> None:
    boards = [board, *shared]
    text = as_latex(report_tables(boards, True, True, paper_parts(boards)))
    assert complaints(tmp_path, text) == []
    signs = "".join(map(chr, range(32, 0x180))) + "∑漢🙂\\input{x}%&#_^~--'`\"<>|\n"
    cells = [[Cell(signs[index : index + 20])] for index in range(0, len(signs), 20)]
    text = as_latex([Table("A & B", [Column("method")], [cells], ["100 % of $5_000"])])
    assert complaints(tmp_path, text) == []


def test_signs_are_escaped_for_latex_and_what_fonts_lack_is_named() -> None:
    assert latex(r"50% \input{a_b} & #1 $x$ ~^") == (
        r"50\% \textbackslash{}input\{a\_b\} \& \#1 \$x\$ \~{}\^{}"
    )
    assert latex(f"a — ±1 {MINUS}2 ↓") == r"a \textemdash{} $\pm$1 $-$2 $\downarrow$"
    assert latex("--init 漢\nb") == "-{}-init {[}U+6F22] b"


def test_labels_are_short_and_each_stands_for_one_table(tmp_path: Path) -> None:
    full = ("full", 66, 58, 71, 112)
    runs = [
        image_text(*full),
        image_text(*full, edition="full", key="a"),
        image_text(*full, scope="smoke", limit=64, key="b"),
        image_text(*full, scope="smoke", limit=32, key="c"),
    ]
    text = as_latex(report_tables(boards_of(tmp_path, *runs), costs=True))
    labels = re.findall(r"\\label\{tab:(.*)\}", text)
    assert len(labels) == len(set(labels)) == 8
    assert {"image-text-mini-bart", "image-text-mini-bart-costs"} <= {*labels}
    assert {"image-text-mini-bart-full", "image-text-mini-bart-smoke-32"} <= {*labels}
    assert r"full & 4.00 & 66.0 & 58.0 & 71.0 & 112.0 & 76.8 & 1 \\" in text


def test_costs_of_a_model_with_a_picture_tower_show_its_share_and_its_projector(
    tmp_path: Path,
) -> None:
    tower = {"model_parameters": 4_000_000}
    runs = [
        image_text("full", 1, 2, 3, 4, **tower, projector=True),
        image_text("adapter", 1, 2, 3, 4, **tower, projector=False),
        image_text("older", 1, 2, 3, 4, model_parameters=None, projector=None),
    ]
    text = as_text(report_tables(boards_of(tmp_path, *runs), costs=True)).split("costs\n")[1]
    ends = {line.split()[0]: line.split()[-2:] for line in text.splitlines() if line[:1].isalpha()}
    assert ends["full"] == ["2.00", "trained"] and ends["adapter"] == ["2.00", "frozen"]
    assert ends["older"] == ["—", "—"] and "picture tower included" in text
