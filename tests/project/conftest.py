"""Tests of documents and of what lies beside the package: `pytest -m project`, and CI."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder."""
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker("project")
    items.sort(key=lambda item: "test_ci_example" not in item.nodeid)  # the longest first
