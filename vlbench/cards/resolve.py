"""Resolve a method card: overrides for the backbone and suite first, then the user's `--set`."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from vlbench.cards.checking import Fault, check, listed, refuse
from vlbench.cards.files import parse_toml
from vlbench.cards.method import MethodCard
from vlbench.cards.task import TaskCard, ordered
from vlbench.cards.technique import find_technique, technique_faults
from vlbench.cards.train import TrainSettings
from vlbench.errors import UsageError, nearest

PROSE = {"title", "aliases", "source", "published", "sizes", "suites", "deviations", "tuning"}
"""Keys that explain a card and cannot change a result."""
LATER: dict[tuple[str, ...], object] = {
    ("train", "optimiser"): "authors-adamw",
    ("train", "truncate"): "end",
    ("train", "order"): "random",
    ("train", "share_encoder"): False,
    ("visual",): "image",
    ("submission",): "",
    ("splits", "mini", "submission"): [],
    ("splits", "full", "submission"): [],
}
"""Keys that came after the first results, with the value those were made with: where a card has
it, hashes and run keys are what they were before."""


def resolve_method(
    card: MethodCard, backbone: str, suite: str, sets: Iterable[str] = ()
) -> MethodCard:
    """The card as it runs there: no `when` left, every parameter of the technique given."""
    if card.suites and suite not in card.suites:
        raise UsageError(
            f"{card.shown}: suites: '{card.name}' is for {', '.join(card.suites)}, not for {suite}."
        )
    table = card.model_dump(mode="json", exclude={"when": True, "tuning": {"before"}})
    overrides = {_ordered(pattern): override for pattern, override in card.when.items()}
    for pattern in ("*/*", f"*/{suite}", f"{backbone}/*", f"{backbone}/{suite}"):
        if pattern in overrides:
            merge(table, overrides[pattern].model_dump(mode="json", exclude_unset=True))
    settings = dict(_parse(text) for text in sets)  # the last of two for one key holds
    for key in ("technique", "sharing"):
        if key in settings:
            table[key] = settings[key]
    faults = technique_faults(table, card.folder)
    _refuse(card, faults, settings)  # before the parameters' names are needed
    technique = find_technique(table["technique"], card.folder)
    for key, value in settings.items():
        _place(table, key, value, technique.Params)
    params, faults = check(technique.Params, table["params"], ("params",))
    resolved, more = check(MethodCard, table)
    _refuse(card, faults + more, settings)
    assert params is not None and resolved is not None
    resolved = resolved.model_copy(update={"params": params.model_dump(mode="json")})
    resolved._file = card._file
    return resolved


def _ordered(pattern: str) -> str:
    """A pattern with its tasks in the order that names what is trained together."""
    backbone, _, suite = pattern.replace(".toml", "").partition("/")
    return f"{backbone}/{ordered(suite.split('+'))[0]}"


def card_hash(*cards: MethodCard | TaskCard) -> str:
    """sha256 of everything in the cards that can change a result, and of their names."""
    text = json.dumps(
        [hashed(card) for card in cards], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def hashed(card: MethodCard | TaskCard) -> dict[str, Any]:
    """What of a card can change a result."""
    table = card.model_dump(mode="json", exclude=PROSE)
    for (*outer, key), value in LATER.items():
        inner = table
        for name in outer:
            inner = inner.get(name, {})
        if inner.get(key) == value:
            del inner[key]
    return table


def merge(table: dict[str, Any], changes: dict[str, Any]) -> None:
    """Put single values of `changes`, and of the tables in it, in place of those in `table`."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(table.get(key), dict):
            merge(table[key], value)
        else:
            table[key] = value


def _parse(setting: str) -> tuple[str, Any]:
    """`key=value` with the value as TOML spells it; what is no TOML value is a string."""
    key, equals, value = (part.strip() for part in setting.partition("="))
    if not key or not equals:
        raise UsageError(f"--set {setting}: Should be key=value, for example params.reduction=8.")
    try:
        parsed = parse_toml(f"value = {value}", f"--set {key}")
    except tomllib.TOMLDecodeError:
        return key, value
    return key, parsed["value"] if len(parsed) == 1 else value


def _place(table: dict[str, Any], key: str, value: object, params: type[BaseModel]) -> None:
    """Put a `--set` value under its dotted key."""
    known = {"title", "technique", "sharing"}
    known |= {f"train.{name}" for name in TrainSettings.model_fields}
    known |= {f"params.{name}" for name in _names(params)}
    is_open = params.model_config.get("extra") == "allow" and key.startswith("params.")
    if key not in known and not is_open:
        raise UsageError(f"--set {key}: Unknown key '{key}'. {nearest(key, known)}")
    *outer, last = key.split(".")
    for name in outer:
        table = table.setdefault(name, {})
    table[last] = value


def _names(params: type[BaseModel]) -> list[str]:
    """The parameters' names, those of a composition's parts behind the part's."""
    names = []
    for name, field in params.model_fields.items():
        part = field.annotation
        if isinstance(part, type) and issubclass(part, BaseModel):
            names += [f"{name}.{inner}" for inner in _names(part)]
        else:
            names.append(name)
    return names


def _refuse(card: MethodCard, faults: list[Fault], settings: dict[str, Any]) -> None:
    """Tell the faults of the user's settings, else those of the card."""
    told = [
        f"--set {fault.key}: {fault.text}"
        for fault in faults
        if any(f"{key}.".startswith(f"{fault.key}.") for key in settings)
    ]
    if told:
        raise UsageError(listed(told))
    if faults:
        raise refuse(card.shown, faults)
