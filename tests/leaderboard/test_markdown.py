"""The report in Markdown."""

from __future__ import annotations

from pathlib import Path

from markdown_it import MarkdownIt

from tests.leaderboard.boards import three_methods, tied
from vlbench.leaderboard.report import as_markdown, sheets


def test_it_renders_as_tables_of_equal_rows(tmp_path: Path) -> None:
    text = as_markdown(sheets([three_methods(tmp_path)], True, True))
    page = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    kinds = [token.type for token in page]
    assert kinds.count("table_open") == 3
    assert kinds.count("heading_open") == 3
    texts = [page[i + 1].children or [] for i, kind in enumerate(kinds) if kind == "td_open"]
    shown = ["".join(child.content for child in children) for children in texts]
    assert len(shown) == 4 * 8 + 3 * 8 + 5 * 4
    expected = "full|4.00|67.0 ±1.0|58.0 ±0.0|71.0 ±0.0|112.0 ±0.0|77.0 ±0.2|3"
    assert shown[:8] == expected.split("|")
    assert "shared-adapter (params.a_b=[1]|*)" in shown


def test_the_best_is_bold_floors_are_italic_and_the_notes_say_so(tmp_path: Path) -> None:
    groups = {"full": {"gqa.accuracy": 1}, "frozen": {"gqa.accuracy": 1}}
    text = as_markdown(sheets([tied(three_methods(tmp_path), groups)]))
    assert " **58.0** ±0.0 |" in text
    assert "| *frozen* " in text
    assert " 38.0 |" in text  # a floor
    assert "- Bold, or \\*: the best of a column" in text
    assert text.count("**") == 2
