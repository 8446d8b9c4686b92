"""Every golden file beside the checkout, by the code that `make parity` runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlbench.parity.folder import check_folder, list_goldens

SHARED = Path(__file__).resolve().parents[3] / "shared" / "golden" / "methods"
NAMES = list_goldens(SHARED).names if SHARED.is_dir() else []


@pytest.mark.parametrize("name", NAMES)
def test_our_model_is_the_authors(golden_folder: Path, name: str) -> None:
    (outcome,) = check_folder(golden_folder, [name])
    assert outcome.faults == []
    assert outcome.errors or name == "multitask_order"


def test_files_of_other_commands_are_told_apart(golden_folder: Path) -> None:
    listing = list_goldens(golden_folder)
    assert "vqa_metric.json" in listing.others
    assert "multitask_order" in listing.names
