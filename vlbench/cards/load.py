"""Find, read and check cards; resolve a method card for a backbone and suite; hash it."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from vlbench.cards.checking import Fault, check, listed, refuse
from vlbench.cards.files import (
    CardFile,
    find_card,
    is_path,
    own_cards,
    parse_toml,
    read_table,
    refuse_twice,
    split_names,
    suites_file,
)
from vlbench.cards.schema import Card, MethodCard, Suite, TaskCard, TrainSettings
from vlbench.errors import UsageError, nearest
from vlbench.techniques import find_technique

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
C = TypeVar("C", bound=Card)


def read_card(
    model: type[C], file: CardFile, table: dict[str, Any]
) -> tuple[C | None, list[Fault]]:
    """The card that a table makes, or all its faults; a card's name is its file's name."""
    card, faults = check(model, {**table, "name": file.name})
    if "name" in table:
        faults.append(Fault(("name",), "Unknown key 'name': a card's name is its file's name."))
    if card is not None:
        card._file = file
    return card, faults


def load_method(name: str, *, check_params: bool = False) -> MethodCard:
    """The method card of that name, alias or path; `check_params` imports its technique."""
    file = find_card("methods", name)
    table = read_table(file)
    card, faults = read_card(MethodCard, file, table)
    if check_params:
        known = {fault.at for fault in faults}
        faults += [f for f in technique_faults(table, file.folder) if f.at not in known]
    if card is None or faults:
        raise refuse(file.shown, faults)
    return card


def find_methods(selection: str | Iterable[str], *, check_params: bool = False) -> list[MethodCard]:
    """The method cards of a comma list, or of several."""
    cards = [load_method(name, check_params=check_params) for name in split_names(selection)]
    refuse_twice([card.name for card in cards])
    return cards


def all_methods() -> list[MethodCard]:
    """Every method card of our own."""
    return [load_method(name) for name in own_cards("methods")]


def load_task(name: str) -> TaskCard:
    """The task card of that name, alias or path."""
    return _read_task(find_card("tasks", name))


def all_tasks() -> list[TaskCard]:
    """Every task card of our own."""
    return [_read_task(file) for file in own_cards("tasks").values()]


def load_suites() -> dict[str, Suite]:
    """Every suite by name."""
    file = suites_file()
    suites: dict[str, Suite] = {}
    faults: list[Fault] = []
    for name, table in read_table(file).items():
        suite, of_suite = check(Suite, {**table, "name": name}, (name,))
        faults += of_suite
        if suite is not None:
            suites[name] = suite
    if faults:
        raise refuse(file.shown, faults)
    return suites


def find_tasks(selection: str | Iterable[str]) -> tuple[str, list[TaskCard]]:
    """The name and the tasks of a suite, a task (a suite of one), or a comma list of both.

    A list that is a known suite has that suite's name, any other the tasks' names joined by "+".
    """
    suites = load_suites()
    names: list[str] = []
    for part in split_names(selection):
        for name in [part] if is_path(part) else part.split("+"):
            names += suites[name].tasks if name in suites else [name]
    cards = [_read_task(find_card("tasks", name, suites)) for name in names]
    refuse_twice([card.name for card in cards])
    for card in cards:
        if card.visual != cards[0].visual:
            raise UsageError(
                f"Task '{cards[0].name}' reads {cards[0].visual} features and '{card.name}' "
                f"{card.visual} features: one run reads one kind."
            )
    name, order = ordered([card.name for card in cards])
    return name, sorted(cards, key=lambda card: order.index(card.name))


def ordered(names: Collection[str]) -> tuple[str, Sequence[str]]:
    """The name and the order of tasks that are trained together, in whatever order they are named.

    Of a suite its own; else the order in which suites name them, then the alphabet's.
    """
    suites = load_suites().values()
    same = [suite for suite in suites if set(suite.tasks) == set(names)]
    if same:
        suite = next((suite for suite in same if suite.tasks == tuple(names)), same[0])
        return suite.name, suite.tasks
    of_suites = [task for suite in suites for task in suite.tasks if task in names]
    order = list(dict.fromkeys([*of_suites, *sorted(names)]))
    return "+".join(order), order


def _read_task(file: CardFile) -> TaskCard:
    card, faults = read_card(TaskCard, file, read_table(file))
    if card is None or faults:
        raise refuse(file.shown, faults)
    return card


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
        changed = check(technique.Params, {**params, **changes}, (*at, "params"))[1]
        faults += [fault for fault in changed if fault.at[3:4] and fault.at[3] in changes]
        faults += _sharing_faults(technique, override, at)
    return faults


def _sharing_faults(technique: Any, table: dict[str, Any], at: tuple[str, ...]) -> list[Fault]:
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
        _set(table, key, value, technique.Params)
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


def _set(table: dict[str, Any], key: str, value: object, params: type[BaseModel]) -> None:
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
    of_settings = [
        f"--set {fault.key}: {fault.text}"
        for fault in faults
        if any(f"{key}.".startswith(f"{fault.key}.") for key in settings)
    ]
    if of_settings:
        raise UsageError(listed(of_settings))
    if faults:
        raise refuse(card.shown, faults)
