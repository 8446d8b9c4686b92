"""CITATION.cff is what GitHub and reference managers read (Citation File Format 1.2.0)."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import yaml

from vlbench import __version__

HOME = Path(__file__).resolve().parents[1]
KEYS = {
    *("cff-version", "message", "title", "authors", "type", "abstract", "version", "license"),
    *("keywords", "references"),
}
"""Of the format's keys those that we use; it allows no others than its own."""
REFERENCE_KEYS = {
    *("type", "title", "authors", "collection-title", "collection-type", "conference", "year"),
    *("url", "notes"),
}


def citation() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((HOME / "CITATION.cff").read_text(encoding="utf-8"))
    return document


def test_it_has_the_keys_that_the_format_requires_and_no_unknown_ones() -> None:
    document = citation()
    assert {"cff-version", "message", "title", "authors"} <= document.keys() <= KEYS
    assert document["cff-version"] == "1.2.0"
    assert document["type"] == "software"
    assert document["authors"] == [{"name": "The vlbench authors"}]
    assert document["version"] == __version__


def test_it_names_the_paper_whose_benchmark_this_is() -> None:
    [paper] = citation()["references"]
    assert {"type", "title", "authors"} <= paper.keys() <= REFERENCE_KEYS
    assert paper["type"] == "conference-paper" and paper["title"].startswith("VL-Adapter: ")
    assert [author["family-names"] for author in paper["authors"]] == ["Sung", "Cho", "Bansal"]
    assert paper["year"] == 2022


def test_it_is_in_the_source_distribution() -> None:
    project = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert "/CITATION.cff" in included
