"""Find, read and check cards; hash them.

Cards lie in the checkout, else in the copy that the wheel carries, or at a path a user gives.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from vlbench.cards.backbone import BackboneCard
from vlbench.cards.checking import Fault, check, refuse
from vlbench.cards.schema import Card, CardFile, MethodCard, Suite, TaskCard
from vlbench.errors import UsageError, nearest
from vlbench.toml import read_toml

Kind = Literal["methods", "tasks", "backbones"]
PACKAGE = Path(__file__).resolve().parents[1]
NOT_CARDS = {"suites"}
"""Files beside the task cards which are not task cards."""
PROSE = {
    *("title", "aliases", "source", "published", "sizes", "suites", "deviations", "tuning"),
    *("seen", "video_source", "question", "like", "license"),
}
"""Keys that explain a card and cannot change a result; weights are hashed by their files, and
questions with the data of the backbones that are asked them."""
NOT_HASHED = ("folder", "images", "may_share_pictures")
"""Keys of `files` that cannot change a result: what the data are is in a run's fingerprints."""
C = TypeVar("C", bound=Card)
CheckTable = Callable[[dict[str, Any], Path | None], list[Fault]]
"""Further faults of a card's table and of outside code in the card's folder."""


def card_folder(kind: Kind) -> Path:
    """The folder of our own cards: beside the package in a checkout, else inside the package."""
    checkout = PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / kind).is_dir():
        return checkout / kind
    return PACKAGE / "_cards" / kind


def own_cards(kind: Kind) -> dict[str, CardFile]:
    """Our own cards by name, in alphabetical order."""
    paths = sorted(card_folder(kind).glob("*.toml"))
    cards = [CardFile(path.stem, path, f"{kind}/{path.name}") for path in paths]
    return {card.name: card for card in cards if card.name != "suites"}


def known_names(kind: Kind) -> dict[str, CardFile]:
    """Our own cards by name and by alias; where both meet, the name wins."""
    cards = own_cards(kind)
    return {alias: c for c in cards.values() for alias in read_table(c).get("aliases", [])} | cards


def is_path(name: str) -> bool:
    """Whether a card is named by its path and not by its name."""
    return name.endswith(".toml") or "/" in name or "\\" in name


def find_card(kind: Kind, name: str, suites: Iterable[str] = ()) -> CardFile:
    """Find the card of that name, alias or path; the message for an unknown one lists `suites`."""
    if is_path(name):
        path = Path(name).expanduser()
        return CardFile(path.stem, path, name, is_outside=True)
    if name in (cards := own_cards(kind)):  # only else all cards are read for their aliases
        return cards[name]
    if name in (cards := known_names(kind)):
        return cards[name]
    what = kind.removesuffix("s") + (" or suite" if suites else "")
    more = ", a model without a card by its folder or its name on the hub."
    raise UsageError(
        f"Unknown {what} '{name}'. {nearest(name, {*cards, *suites})} "
        f"A card of your own is given by its path: ./{name}.toml"
        f"{more if kind == 'backbones' else ''}"
    )


def read_table(file: CardFile) -> dict[str, Any]:
    """Read the TOML table of a card."""
    return read_toml(file.path, file.shown)


def split_names(selection: str | Iterable[str]) -> list[str]:
    """Return the names in a comma list, or in several."""
    texts = [selection] if isinstance(selection, str) else list(selection)
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("No name given: the list is empty.")
    return names


def _once(cards: list[C]) -> list[C]:
    """Refuse a card that is named twice, also by an alias or within a suite."""
    names = [card.name for card in cards]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"Named twice: {', '.join(twice)}.")
    return cards


def _read(model: type[C], file: CardFile, *checks: CheckTable) -> C:
    """Read a card; a card's name is its file's name."""
    table = read_table(file)
    card, faults = check(model, {**model.completed(table, file), "name": file.name})
    if "name" in table:
        faults.append(Fault(("name",), "Unknown key 'name': a card's name is its file's name."))
    for more in checks:
        known = {fault.at for fault in faults}
        faults += [fault for fault in more(table, file.folder) if fault.at not in known]
    if card is None or faults:
        raise refuse(file.shown, faults)
    card._file = file
    return card


def load_method(name: str, *checks: CheckTable) -> MethodCard:
    """Load the method card of that name, alias or path.

    With `vlbench.techniques.technique_faults` as a check its parameters are checked too.
    """
    return _read(MethodCard, find_card("methods", name), _pattern_faults, *checks)


def find_methods(selection: str | Iterable[str], *checks: CheckTable) -> list[MethodCard]:
    """Load the method cards of a comma list, or of several."""
    return _once([load_method(name, *checks) for name in split_names(selection)])


def all_methods() -> list[MethodCard]:
    """Load every method card of our own."""
    return [load_method(name) for name in own_cards("methods")]


def table_of(table: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the table under `key`; empty where something else stands, which is its own fault."""
    value = table.get(key)
    return value if isinstance(value, dict) else {}


def _pattern_faults(table: dict[str, Any], folder: Path | None) -> list[Fault]:
    """Return the overrides for backbones, suites or tasks that do not exist."""
    suites = {"*", *load_suites(), *own_cards("tasks")}
    faults = []
    for pattern in table_of(table, "when"):
        backbone, _, suite = pattern.partition("/")
        parts = [(backbone, {"*", *own_cards("backbones")})]
        parts += [(part, suites) for part in suite.split("+")]
        for name, known in parts:
            if name not in known and ("/" in name or not name.endswith(".toml")):
                text = f"Should be backbone/suite: unknown '{name}'. {nearest(name, known)}"
                faults.append(Fault(("when", pattern), text))
    return faults


def load_task(name: str) -> TaskCard:
    """Load the task card of that name, alias or path."""
    return _read(TaskCard, find_card("tasks", name))


def all_tasks() -> list[TaskCard]:
    """Load every task card of our own."""
    return [load_task(name) for name in own_cards("tasks")]


def load_backbone_card(name: str) -> BackboneCard:
    """Load the backbone card of that name, alias or path."""
    return _read(BackboneCard, find_card("backbones", name), _name_faults)


def all_backbones() -> list[BackboneCard]:
    """Load every backbone card of our own."""
    return [load_backbone_card(name) for name in own_cards("backbones")]


def _name_faults(table: dict[str, Any], folder: Path | None) -> list[Fault]:
    """Return the names of tasks it has seen, and of what it is like, that are not ours."""
    like, cards = table.get("like"), own_cards("backbones")
    if isinstance(like, str) and like not in cards:
        return [Fault(("like",), f"Unknown backbone '{like}'. {nearest(like, cards)}")]
    seen, known = table.get("seen"), own_cards("tasks")
    names = [name for name in seen if isinstance(name, str)] if isinstance(seen, list) else []
    return [
        Fault(("seen",), f"Unknown task '{name}'. {nearest(name, known)}")
        for name in names
        if name not in known
    ]


def load_suites() -> dict[str, Suite]:
    """Load every suite by name."""
    file = CardFile("suites", card_folder("tasks") / "suites.toml", "tasks/suites.toml")
    suites = {}
    for name, table in read_table(file).items():
        suite, faults = check(Suite, {**table, "name": name}, (name,))
        if suite is None:
            raise refuse(file.shown, faults)
        suites[name] = suite
    return suites


def find_suite(name: str, suites: Mapping[str, Suite]) -> Suite | None:
    """Find the suite of that name, or that a card outside declares; None where it is no suite.

    Paths of task cards are seen from the suite's card.
    """
    if not is_path(name):
        return suites.get(name)
    file = find_card("tasks", name)
    table = read_table(file)
    if "tasks" not in table or "reader" in table:
        return None
    suite, faults = check(Suite, {**table, "name": file.name})
    if suite is None:
        raise refuse(file.shown, faults)
    if file.name in suites:
        raise UsageError(f"{name}: '{file.name}' is the name of another suite: rename the file.")
    tasks = (str(file.path.parent / task) if is_path(task) else task for task in suite.tasks)
    return suite.model_copy(update={"tasks": tuple(tasks)})


def find_tasks(selection: str | Iterable[str]) -> tuple[str, list[TaskCard]]:
    """Load the name and the tasks of a suite, a task (a suite of one), or a comma list of both.

    A list that is a known suite has that suite's name, any other the tasks' names joined by "+".
    A suite's card outside, alone, gives name and order.
    """
    suites, parts = load_suites(), split_names(selection)
    names: list[str] = []
    for part in parts:
        for name in [part] if is_path(part) else part.split("+"):
            suite = find_suite(name, suites)
            names += suite.tasks if suite else [name]
    cards = _once([_read(TaskCard, find_card("tasks", name, suites)) for name in names])
    for card in cards:
        if card.visual != cards[0].visual:
            raise UsageError(
                f"Task '{cards[0].name}' reads {cards[0].visual} features and '{card.name}' "
                f"{card.visual} features: one run reads one kind."
            )
    if len(parts) == 1 and is_path(parts[0]) and (suite := find_suite(parts[0], suites)):
        return suite.name, cards
    name, order = ordered([card.name for card in cards])
    return name, sorted(cards, key=lambda card: order.index(card.name))


def ordered(names: Collection[str]) -> tuple[str, Sequence[str]]:
    """Name and order of tasks that are trained together, in whatever order they are given.

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


def card_hash(*cards: Card) -> str:
    """sha256 of everything in the cards that can change a result, and of their names."""
    text = json.dumps(
        [hashed(card) for card in cards], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def hashed(card: Card) -> dict[str, Any]:
    """What of a card can change a result."""
    table = card.model_dump(mode="json", exclude=PROSE)
    for key in NOT_HASHED if table.get("files") else ():
        del table["files"][key]
    return table
