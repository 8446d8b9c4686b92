"""LEADERBOARD.md is what its script makes of the committed results."""

from __future__ import annotations

from pathlib import Path

from tools.leaderboard import boards, page

HOME = Path(__file__).resolve().parents[1]


def test_the_page_is_made_from_the_committed_results() -> None:
    assert (HOME / "LEADERBOARD.md").read_text(encoding="utf-8") == page(boards())


def test_its_pictures_are_there() -> None:
    text = (HOME / "LEADERBOARD.md").read_text(encoding="utf-8")
    pictures = [part.split(")")[0] for part in text.split("](")[1:] if ".svg" in part[:60]]
    assert len(pictures) == 2
    assert all((HOME / picture).is_file() for picture in pictures)
