"""Names of pages: from any text a name that is safe in a folder and an address, none twice."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from itertools import count

LONGEST = 60
"""Letters of a page's name before its hash."""


def page_names(texts: Iterable[str]) -> dict[str, str]:
    """Text -> page name without its suffix: lower-case letters, digits and hyphens only.

    A text that is such a name itself keeps it; any other gets hex digits of its hash behind what is
    left of it, so that `LoRA`, `lora` and `../lora` are three pages on any file system.
    """
    wanted = sorted(set(texts))
    names = {text: text for text in wanted if text and slug(text) == text}
    for text in wanted:
        if text not in names:
            names[text] = _hashed(text, set(names.values()))
    return names


def slug(text: str) -> str:
    """What is left of a text in a page's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:LONGEST].strip("-")


def numbered(names: Sequence[str]) -> list[str]:
    """The names, each new: a second `board` is `board-2`."""
    found: dict[str, None] = {}
    wanted = set(names)
    for name in names:
        others = (f"{name}-{number}" for number in count(2))
        free = (other for other in others if other not in found and other not in wanted)
        found[next(free) if name in found else name] = None
    return list(found)


def is_plain(text: str) -> bool:
    """Whether a text can be the name of a file or folder and lead nowhere else."""
    return 0 < len(text) < 200 and text.isprintable() and text[0] != "." and not {*text} & {*"/\\"}


def _hashed(text: str, taken: set[str]) -> str:
    digits = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    for length in range(8, len(digits) + 1):
        name = f"{slug(text)}-{digits[:length]}".lstrip("-")
        if name not in taken:
            return name
    raise AssertionError("no two texts share a sha256")
