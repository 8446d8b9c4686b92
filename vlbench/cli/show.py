"""`vlbench list` and `vlbench show`: what there is, read from plain tables and cards."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlbench.cli.output import end_left_out, print_json, print_table, say
from vlbench.errors import DataError, UsageError, nearest

if TYPE_CHECKING:
    from vlbench.cards import MethodCard, TaskCard

Item = dict[str, Any]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def list_cards(
    what: Annotated[str, typer.Argument(help="methods, tasks, suites, backbones or runs.")],
    results: Annotated[Path, typer.Option(help="The results folder, for runs.")] = Path("results"),
    json: Json = False,
) -> None:
    """List the methods, tasks, suites or backbones there are, or the runs of a results folder."""
    if what not in LISTS:
        raise UsageError(f"Nothing called '{what}' to list. {nearest(what, LISTS)}")
    columns, items = LISTS[what]
    faults: list[DataError] = []
    found = list(items(results, faults))
    if json:
        print_json("list", found)
    else:
        print_table([[_cell(item[column]) for column in columns] for item in found], columns)
    end_left_out(faults)


def show(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(help="A method, task, suite or backbone; a card's path; config.")
    ],
    json: Json = False,
) -> None:
    """Show a card as it is written, or as JSON with every default filled in.

    `config` shows every option with its value and what says so.
    """
    if name == CONFIG:
        _show_configuration(context, json)
        return
    found = list(_named(name))
    if json:
        print_json("show", [item for item, _ in found])
    else:
        say("\n\n".join(text for _, text in found))


def _methods(*_: object) -> Iterable[Item]:
    from vlbench.cards.load import all_methods

    keys = {*LISTS["methods"][0], "source"}
    return (card.model_dump(mode="json", include=keys) for card in all_methods())


def _tasks(*_: object) -> Iterable[Item]:
    from vlbench.cards.load import all_tasks

    for card in all_tasks():
        yield {
            "name": card.name,
            "title": card.title,
            "metric": f"{card.name}.{card.main_metric}",
            "editions": list(card.editions),
            "aliases": list(card.aliases),
            "source": card.source,
        }


def _suites(*_: object) -> Iterable[Item]:
    from vlbench.cards.load import load_suites

    return (suite.model_dump(mode="json") for suite in load_suites().values())


def _backbones(*_: object) -> Iterable[Item]:
    from vlbench.backbones import BACKBONES

    return ({"name": name, **row._asdict()} for name, row in BACKBONES.items())


def _runs(results: Path, faults: list[DataError]) -> Iterable[Item]:
    from vlbench.running.folder import list_runs

    items, unreadable = list_runs(results)
    faults += unreadable
    return items


LISTS: dict[str, tuple[tuple[str, ...], Callable[[Path, list[DataError]], Iterable[Item]]]] = {
    "methods": (("name", "title", "technique", "sharing", "aliases"), _methods),
    "tasks": (("name", "title", "metric", "editions", "aliases"), _tasks),
    "suites": (("name", "title", "tasks"), _suites),
    "backbones": (("name", "title", "source"), _backbones),
    "runs": (
        (
            *("key", "method", "settings", "init", "suite"),
            *("backbone", "edition", "scope", "seed", "status"),
        ),
        _runs,
    ),
}
"""What can be listed: the table's columns, and where its items come from."""
ROWS = ("suite", "backbone")
"""What has no file of its own."""
CONFIG = "config"


def _show_configuration(context: typer.Context, json: bool) -> None:
    """The values of options, `[set]` and `[slurm]` as a command without options would have them."""
    from vlbench.cli.config import configuration

    items = configuration(context.find_root().command)
    if json:
        print_json("show", items)
    else:
        values = ["-" if item["value"] in (None, []) else _cell(item["value"]) for item in items]
        rows = [[i["key"], value, i["source"]] for i, value in zip(items, values, strict=True)]
        print_table(rows, ("key", "value", "from"))


def _named(name: str) -> Iterable[tuple[Item, str]]:
    """Everything of that name: as JSON, and as text."""
    from vlbench.cards.files import find_card, is_path, known_names, read_table
    from vlbench.cards.load import load_method, load_task

    if is_path(name):
        is_method = "technique" in read_table(find_card("methods", name))
        yield _card("method", load_method(name)) if is_method else _card("task", load_task(name))
        return
    methods, tasks = known_names("methods"), known_names("tasks")
    if name in methods:
        yield _card("method", load_method(name))
    if name in tasks:
        yield _card("task", load_task(name))
    rows = {
        kind: {item["name"]: item for item in LISTS[f"{kind}s"][1](Path(), [])} for kind in ROWS
    }
    for kind, items in rows.items():
        if name in items:
            yield {"kind": kind, **items[name]}, _lines(items[name])
    known = {*methods, *tasks, CONFIG}.union(*rows.values())
    if name not in known:
        raise UsageError(f"Nothing called '{name}' to show. {nearest(name, known)}")


def _card(kind: str, card: MethodCard | TaskCard) -> tuple[Item, str]:
    item = {"kind": kind, "file": card.shown, **card.model_dump(mode="json")}
    return item, f"# {card.shown}\n{card.text()}"


def _lines(item: Item) -> str:
    return "\n".join(f"{key} = {_cell(value)}" for key, value in item.items())


def _cell(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
