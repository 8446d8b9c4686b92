"""The techniques: a plain table, and the lookup of a name or "module:Class" in it.

Reading the table imports nothing heavy; looking up a technique imports torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vlbench.errors import UsageError, nearest
from vlbench.outside import load

if TYPE_CHECKING:
    from vlbench.techniques.base import Technique

JOINED_BY = "+"
"""Between the names of techniques that are composed."""
TECHNIQUES = {
    "full": "vlbench.techniques.selective:Full",
    "frozen": "vlbench.techniques.selective:Frozen",
    "adapter": "vlbench.techniques.adapter:Adapter",
    "compacter": "vlbench.techniques.compacter:Compacter",
    "hyperformer": "vlbench.techniques.hyperformer:Hyperformer",
    "lora": "vlbench.techniques.lora:LoRA",
    "prompt": "vlbench.techniques.prompt:PromptTuning",
    "bitfit": "vlbench.techniques.selective:BitFit",
    "low_rank_adapter": "vlbench.techniques.low_rank_adapter:LowRankAdapter",
    "vl_pet": "vlbench.techniques.vl_pet:VLPET",
    "lst": "vlbench.techniques.lst:LST",
    "peft": "vlbench.techniques.peft:Peft",
}


def parts_of(technique: str) -> list[str]:
    """Split what a card names: one technique, or those of a composition."""
    return [part.strip() for part in technique.split(JOINED_BY)]


def find_technique(name: str, folder: Path | None = None) -> type[Technique]:
    """Return the technique of that name in the table, or at "module:Class".

    Several joined by "+" are their composition. Outside modules may lie in `folder`.
    """
    parts = parts_of(name)
    if len(parts) == 1:
        return _find_one(name, folder)
    from vlbench.techniques.compose import compose

    kinds = {part.rpartition(":")[2]: _find_one(part, folder) for part in parts}
    if len(kinds) < len(parts):
        raise UsageError(f"Technique '{name}' names one technique twice.")
    return compose(kinds)


def _find_one(name: str, folder: Path | None) -> type[Technique]:
    from vlbench.techniques.base import Technique

    target = TECHNIQUES.get(name, name)
    if ":" not in target:
        raise UsageError(
            f"Unknown technique '{name}'. {nearest(name, TECHNIQUES)} "
            'Your own is named "module:Class".'
        )
    kind = load(name, target, folder)
    if not (isinstance(kind, type) and issubclass(kind, Technique)):
        raise UsageError(
            f"'{name}': '{target.partition(':')[2]}' is not a technique: it must be a subclass of "
            "vlbench.techniques.base.Technique."
        )
    return kind
