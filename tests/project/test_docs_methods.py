"""docs/methods.md says what the techniques and the cards say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from vlbench.cards.load import all_methods
from vlbench.techniques import TECHNIQUES, find_technique, parts_of


@pytest.fixture(scope="module")
def sections(project: Path) -> dict[str, str]:
    text = (project / "docs" / "methods.md").read_text(encoding="utf-8")
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def listed(section: str, key: str) -> list[str]:
    found = re.search(rf"^- {key}: (.+)$", section, re.MULTILINE)
    assert found, f"no line '- {key}:'"
    return [each.strip("` ") for each in found[1].split(",") if each != "none"]


def shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def test_every_technique_has_its_section(sections: dict[str, str]) -> None:
    assert list(sections) == list(TECHNIQUES)


@pytest.mark.parametrize("name", TECHNIQUES)
def test_a_section_says_what_the_code_says(sections: dict[str, str], name: str) -> None:
    section, technique = sections[name], find_technique(name)
    assert listed(section, "Sharing") == sorted(technique.sharings)
    cards = [card.name for card in all_methods() if name in parts_of(card.technique)]
    assert sorted(listed(section, "Cards")) == sorted(cards)
    for key in ("Source", "Difference"):
        assert listed(section, key)
    rows = dict(re.findall(r"^\| (\w+) \| (.*) \|$", section, re.MULTILINE))
    rows.pop("parameter", None)
    fields = technique.Params.model_fields
    assert rows == {
        key: "required" if field.is_required() else shown(field.default)
        for key, field in fields.items()
    }
