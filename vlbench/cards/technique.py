"""The code that a method card names, and the card's `[params]` against it; a call imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlbench.cards.checking import Fault, check
from vlbench.errors import UsageError, nearest
from vlbench.outside import load
from vlbench.techniques import TECHNIQUES, parts_of

if TYPE_CHECKING:
    from vlbench.techniques.base import Technique


def find_technique(name: str, folder: Path | None = None) -> type[Technique]:
    """The technique of that name in the table TECHNIQUES, or at "module:Class".

    Several joined by "+" are their composition. Outside modules may lie in `folder`.
    """
    parts = parts_of(name)
    if len(parts) == 1:
        return _find_one(name, folder)
    from vlbench.techniques.composition import compose

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
    found = load(name, target, folder)
    if not (isinstance(found, type) and issubclass(found, Technique)):
        raise UsageError(
            f"'{name}': '{target.partition(':')[2]}' is not a technique: it must be a subclass of "
            "vlbench.techniques.base.Technique."
        )
    return found


def technique_faults(table: dict[str, Any], folder: Path | None) -> list[Fault]:
    """What is wrong with a card's technique, sharing and parameters, those in `when` too."""
    name = table.get("technique")
    if not isinstance(name, str):
        return []  # the card's own check tells it
    try:
        technique = find_technique(name, folder)
    except UsageError as error:
        return [Fault(("technique",), str(error))]
    params = _table(table, "params")
    faults = check(technique.Params, params, ("params",))[1] + _sharing_faults(technique, table, ())
    for pattern, override in _table(table, "when").items():
        if not isinstance(override, dict):
            continue
        at = ("when", pattern)
        changes = _table(override, "params")
        found = check(technique.Params, {**params, **changes}, (*at, "params"))[1]
        faults += [fault for fault in found if fault.at[3:4] and fault.at[3] in changes]
        faults += _sharing_faults(technique, override, at)
    return faults


def _sharing_faults(
    technique: type[Technique], table: dict[str, Any], at: tuple[str, ...]
) -> list[Fault]:
    sharing = table.get("sharing")
    if not isinstance(sharing, str) or sharing in technique.sharings:
        return []
    known = ", ".join(sorted(technique.sharings))
    text = f"{technique.__name__} cannot share '{sharing}'. Known: {known}."
    return [Fault((*at, "sharing"), text)]


def _table(table: dict[str, Any], key: str) -> dict[str, Any]:
    """The table under `key`; empty where something else stands: the card's own check tells."""
    value = table.get(key)
    return value if isinstance(value, dict) else {}
