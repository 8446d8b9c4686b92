"""One example of any task, as every reader yields it; the rest knows no dataset by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Example:
    """A text about one or more pictures, and what a model should answer."""

    id: str
    """Unique within the task and split, as the official files spell it."""
    text: str
    """The question or sentence without the task's prompt; empty for captioning."""
    images: tuple[str, ...]
    """Image ids (file stems) in order."""
    targets: dict[str, float]
    """Answer -> score in [0, 1]; training samples one in proportion. Empty: nothing to learn."""
    annotation: dict[str, Any] = field(default_factory=dict)
    """The official record, as the official metric wants it."""
    family: str = ""
    """The kind of question, as the dataset names it; majority rates are given per family."""
    context: str = ""
    """What stands before the text and is the first to be cut with `truncate = "subtitles"`: the
    subtitles of a clip."""
