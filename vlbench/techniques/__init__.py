"""The techniques: a plain table, and method cards checked against and resolved for theirs.

Reading the table imports nothing heavy; looking up a technique imports torch.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlbench.cards.checking import Fault, check, refuse
from vlbench.cards.load import ordered, table_of
from vlbench.cards.schema import MethodCard, TrainSettings
from vlbench.errors import UsageError, nearest
from vlbench.outside import load
from vlbench.toml import merge, parse_toml

if TYPE_CHECKING:
    from pydantic import BaseModel

    from vlbench.techniques.base import Technique

JOINED_BY = "+"
"""Between the names of techniques that are composed."""
TECHNIQUES = {
    "zero_shot": "vlbench.techniques.selective:ZeroShot",
    "full": "vlbench.techniques.selective:Full",
    "frozen": "vlbench.techniques.selective:Frozen",
    "adapter": "vlbench.techniques.adapter:Adapter",
    "compacter": "vlbench.techniques.adapter:Compacter",
    "hyperformer": "vlbench.techniques.hyperformer:Hyperformer",
    "lora": "vlbench.techniques.lora:LoRA",
    "prompt": "vlbench.techniques.prompt:PromptTuning",
    "bitfit": "vlbench.techniques.selective:BitFit",
    "low_rank_adapter": "vlbench.techniques.adapter:LowRankAdapter",
    "vl_pet": "vlbench.techniques.vl_pet:VLPET",
    "lst": "vlbench.techniques.lst:LST",
    "peft": "vlbench.techniques.peft:Peft",
}


def parts_of(technique: str) -> list[str]:
    """Split what a card names: one technique, or those of a composition."""
    return [part.strip() for part in technique.split(JOINED_BY)]


def find_technique(name: str, folder: Path | None = None) -> type[Technique]:
    """Return the technique at a name in the table or "module:Class", or the composition of several.

    Outside modules may lie in `folder`.
    """
    parts = parts_of(name)
    if len(parts) == 1:
        return _find_one(name, folder)
    from vlbench.techniques.compose import compose

    kinds = {part.rpartition(":")[2]: _find_one(part, folder) for part in parts}
    if len(kinds) < len(parts):
        raise UsageError(f"Technique '{name}' names one technique twice.")
    return compose(JOINED_BY.join(kinds), kinds)


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
        what = f"'{name}': '{target.partition(':')[2]}' is not a technique"
        raise UsageError(f"{what}: it must be a subclass of vlbench.techniques.base.Technique.")
    return kind


def technique_faults(table: dict[str, Any], folder: Path | None) -> list[Fault]:
    """Return what is wrong with a card's technique, sharing and parameters, in `when` too."""
    name = table.get("technique")
    if not isinstance(name, str):
        return []  # a fault of the card itself
    try:
        technique = find_technique(name, folder)
    except UsageError as error:
        return [Fault(("technique",), str(error))]
    params, when = table_of(table, "params"), table_of(table, "when")
    tables = {(): table} | {("when", pattern): table_of(when, pattern) for pattern in when}
    faults: list[Fault] = []
    of_base: list[Fault] = []
    for at, changes in tables.items():
        merged = {**params, **table_of(changes, "params")}
        own = check(technique.Params, merged, (*at, "params"))[1]
        faults += [fault for fault in own if Fault(fault.at[len(at) :], fault.text) not in of_base]
        of_base = of_base or own  # `table` comes first
        sharing = changes.get("sharing")
        if isinstance(sharing, str) and sharing not in technique.sharings:
            known = ", ".join(sorted(technique.sharings))
            text = f"{technique.__name__} cannot share '{sharing}'. Known: {known}."
            faults.append(Fault((*at, "sharing"), text))
    return faults


def resolve_method(
    card: MethodCard, backbone: str, suite: str, sets: Iterable[str] = (), like: str = ""
) -> MethodCard:
    """Resolve a card as it runs there: no `when` left, every parameter of the technique given.

    Overrides for the backbone that this one is `like` count too, before its own.
    """
    if card.suites and suite not in card.suites:
        raise UsageError(
            f"{card.shown}: suites: '{card.name}' is for {', '.join(card.suites)}, not for {suite}."
        )
    table = card.model_dump(mode="json", exclude={"when"})
    overrides = {_in_order(pattern): override for pattern, override in card.when.items()}
    backbones = dict.fromkeys(name for name in ("*", like, backbone) if name)
    for pattern in (f"{name}/{part}" for name in backbones for part in ("*", suite)):
        if pattern in overrides:
            merge(table, overrides[pattern].model_dump(mode="json", exclude_unset=True))
    settings = dict(_parse(text) for text in sets)  # the last of two for one key holds
    table |= {key: settings[key] for key in ("technique", "sharing") if key in settings}
    _refuse(card, technique_faults(table, card.folder), settings)
    technique = find_technique(table["technique"], card.folder)
    for key, value in settings.items():
        _set(table, key, value, technique.Params)
    params, faults = check(technique.Params, table["params"], ("params",))
    resolved, more = check(MethodCard, table)
    _refuse(card, faults + more, settings)
    assert params is not None and resolved is not None
    resolved = resolved.model_copy(update={"params": params.model_dump(mode="json")})
    resolved._file = card._file
    return resolved


def _in_order(pattern: str) -> str:
    """Put a pattern's tasks in the order that names what is trained together."""
    backbone, _, suite = pattern.replace(".toml", "").partition("/")
    return f"{backbone}/{ordered(suite.split('+'))[0]}"


def _parse(setting: str) -> tuple[str, Any]:
    """Split `key=value`, the value as TOML spells it; what is no TOML value is a string."""
    key, equals, value = (part.strip() for part in setting.partition("="))
    if not key or not equals:
        raise UsageError(f"--set {setting}: Should be key=value, for example params.reduction=8.")
    try:
        parsed = parse_toml(f"value = {value}", f"--set {key}")
    except tomllib.TOMLDecodeError:
        return key, value
    return key, parsed["value"] if len(parsed) == 1 else value


def _set(table: dict[str, Any], key: str, value: object, params: type[BaseModel]) -> None:
    """Put a `--set` value under its dotted key."""
    known = {"title", "technique", "sharing"}
    known |= {*_keys("train", TrainSettings), *_keys("params", params)}
    is_open = params.model_config.get("extra") == "allow" and key.startswith("params.")
    if key not in known and not is_open:
        raise UsageError(f"--set {key}: Unknown key '{key}'. {nearest(key, known)}")
    *outer, last = key.split(".")
    for name in outer:
        table = table.setdefault(name, {})
    table[last] = value


def _keys(outer: str, model: type[BaseModel]) -> Iterable[str]:
    """Yield a model's dotted keys; a composition's parts have tables of their own."""
    for name, field in model.model_fields.items():
        part: Any = field.annotation
        inner = _keys(f"{outer}.{name}", part) if hasattr(part, "model_fields") else ()
        yield from inner or [f"{outer}.{name}"]


def _refuse(card: MethodCard, faults: list[Fault], settings: dict[str, Any]) -> None:
    """Raise the faults of the user's settings, else those of the card."""
    keys = " ".join(f" {key}." for key in settings)
    if own := [fault for fault in faults if f" {fault.key}." in keys]:
        raise UsageError("\n".join(f"--set {fault.key}: {fault.text}" for fault in own))
    if faults:
        raise refuse(card.shown, faults)
