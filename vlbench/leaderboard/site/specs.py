"""What a run's `spec.json` says: the card as it was resolved, and how to run it again."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlbench.files import read_object

LONGEST = 400
"""Letters of a value that are shown."""
Spec = Mapping[str, Any]


def read_spec(folder: Path, key: str) -> dict[str, Any]:
    """The spec of a run; empty where the run has none, as results from elsewhere may."""
    path = folder / "runs" / key / "spec.json"
    return read_object(path, "not a run's spec") if os.path.lexists(path) else {}


def task_card(spec: Spec, task: str) -> dict[str, Any]:
    """The card of a task as the run used it; empty where the spec does not hold it."""
    cards = spec.get("tasks")
    for card in cards if isinstance(cards, list) else []:
        if isinstance(card, dict) and card.get("name") == task:
            return card
    return {}


def table(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """The leaves of a table by their dotted names, as text."""
    if isinstance(value, Mapping) and value:
        inner = [
            table(each, f"{prefix}.{name}" if prefix else str(name)) for name, each in value.items()
        ]
        return [line for lines in inner for line in lines]
    return [(prefix, said(value))] if prefix else []


def lines(value: Any) -> list[str]:
    """A list of texts, whatever it is."""
    if isinstance(value, list | tuple):
        return [said(each) for each in value]
    return [said(value)] if value else []


def said(value: Any) -> str:
    """A value as people write it, cut where it is very long."""
    if value is None or value == {} or value == []:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return cut(", ".join(map(said, value)))
    return cut(str(value))


def cut(text: str, longest: int = LONGEST) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def command(spec: Spec) -> str:
    """What to type to get the run's numbers again; empty where the spec does not tell."""
    method = spec.get("method")
    if not isinstance(method, dict) or "suite" not in spec:
        return ""
    words = ["vlbench", "run"]
    for option, value in (
        ("method", spec.get("method_file") or method.get("name")),
        ("tasks", spec["suite"]),
        ("backbone", spec.get("backbone")),
        ("edition", spec.get("edition")),
        ("seeds", spec.get("seed")),
        ("limit", spec.get("limit")),
        ("encoder", spec.get("encoder")),
        ("init", spec.get("init")),
        ("root", "DIR" if spec.get("root") else ""),
    ):
        words += [f"--{option}", str(value)] if value not in (None, "") else []
    for setting in lines(spec.get("settings")):
        words += ["--set", setting]
    return shlex.join(words)


def differing(specs: Sequence[Spec]) -> list[str]:
    """The top-level names in which specs differ."""
    names = {name: None for spec in specs for name in spec}
    return [name for name in names if any(spec.get(name) != specs[0].get(name) for spec in specs)]


def pretty(spec: Spec) -> str:
    """The spec as JSON."""
    return json.dumps(spec, indent=1, ensure_ascii=False)
