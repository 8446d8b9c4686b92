"""`vlbench list`, `show` and `params`: methods, tasks, backbones, options, counted parameters."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlbench.cli.options import (
    PREFIX,
    Backbone,
    Json,
    OutsideCode,
    Results,
    Settings,
    all_options,
    default_map,
    merged_settings,
    options_of,
    refuse_outside_code,
    settings_by_key,
    variable_of,
    variable_settings,
)
from vlbench.cli.output import end_left_out, note, print_json, print_table, say
from vlbench.errors import CardError, DataError, UsageError, VlbenchError, nearest

if TYPE_CHECKING:
    from vlbench.cards import MethodCard, TaskCard
    from vlbench.config import Config

Item = dict[str, Any]
NUMBERS = ("width", "trainable", "total", "%", "published")
BUILT_IN = "built-in"


def list_cards(
    what: Annotated[str, typer.Argument(help="methods, tasks, suites, backbones or runs.")],
    results: Results = Path("results"),
    json: Json = False,
) -> None:
    """List methods, tasks, suites, backbones or runs."""
    if what not in LISTS:
        raise UsageError(f"Nothing called '{what}' to list. {nearest(what, LISTS)}")
    columns, items = LISTS[what]
    faults: list[DataError] = []
    listed = list(items(results, faults))
    if json:
        print_json("list", listed)
    else:
        print_table([[_cell(item[column]) for column in columns] for item in listed], columns)
    end_left_out(faults)


def show(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(help="A method, task, suite or backbone; a card's path; config.")
    ],
    json: Json = False,
) -> None:
    """Show a card, or where options get their values.

    As it is written, or as JSON with every default filled in. `config` shows every option with its
    value and what says so.
    """
    if name == CONFIG:
        _show_configuration(context, json)
        return
    cards = list(_named(name))
    if json:
        print_json("show", [item for item, _ in cards])
    else:
        say("\n\n".join(text for _, text in cards))


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
    from vlbench.runs.folder import list_runs

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
    items = list(_configuration(context.find_root().command))
    if json:
        print_json("show", items)
    else:
        values = ["-" if item["value"] in (None, []) else _cell(item["value"]) for item in items]
        rows = [[i["key"], value, i["source"]] for i, value in zip(items, values, strict=True)]
        print_table(rows, ("key", "value", "from"))


def _configuration(root: Any) -> Iterator[Item]:
    """Every key of a configuration file and every variable that is set: value and source."""
    from vlbench.config import leaves, load_config

    config = load_config()
    yield from _option_items(root, config)
    variable = settings_by_key(variable_settings())
    for key, value in config.card_settings.items():
        if key not in variable:
            yield _config_item(f"set.{key}", value, str(config.sources[f"set.{key}"]))
    for key, setting in variable.items():
        yield _config_item(f"set.{key}", setting.partition("=")[2].strip(), f"{PREFIX}_SET")
    for key, value in leaves({"slurm": config.slurm.model_dump()}):
        yield _config_item(key, value, str(config.sources.get(key, BUILT_IN)))


def _option_items(root: Any, config: Config) -> Iterator[Item]:
    """The options of a file's keys as `run` has them, then others with a variable; the cache."""
    from vlbench.config import NOT_OPTIONS, Settings
    from vlbench.files import cache_place

    run = root.commands["run"]
    context = typer.Context(run, auto_envvar_prefix=PREFIX, default_map=default_map(run))
    options = {option.name: option for option in (*all_options(root), *options_of(run))}
    names = [name for name in Settings.model_fields if name not in NOT_OPTIONS and name in options]
    others = [
        name
        for name, option in sorted(options.items())
        if name not in names and os.environ.get(variable_of(option)) and name != "settings"
    ]
    for option in (options[name] for name in (*names, *others)):
        value, origin = option.consume_value(context, {})
        sources = {
            "ENVIRONMENT": variable_of(option),
            "DEFAULT_MAP": str(config.sources.get(option.name)),
        }
        yield _config_item(option.name, value, sources.get(origin.name, BUILT_IN))
    yield _config_item("cache", *cache_place())


def _config_item(key: str, value: object, source: str) -> Item:
    if isinstance(value, list | tuple):
        value = [str(part) for part in value]
    elif value is not None and not isinstance(value, str | int | float):
        value = str(value)
    return {"kind": "config", "key": key, "value": value, "source": source}


def _named(name: str) -> Iterable[tuple[Item, str]]:
    """Everything of that name: as JSON, and as text."""
    from vlbench.cards.load import (
        find_card,
        is_path,
        known_names,
        load_method,
        load_task,
        read_table,
    )

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


def params(
    context: typer.Context,
    method: Annotated[
        list[str] | None, typer.Option(help="Methods, comma list or repeated; all when left out.")
    ] = None,
    backbone: Backbone = "mini-bart",
    tasks: Annotated[
        str, typer.Option(help="A suite, a task or a comma list of tasks.")
    ] = "image-text",
    settings: Settings = None,
    groups: Annotated[
        bool, typer.Option("--groups", help="Show which parts of the model they belong to.")
    ] = False,
    outside_code: OutsideCode = False,
    json: Json = False,
) -> None:
    """Count trainable parameters, without training.

    "width" is what `params.reduction` leaves of the hidden size. "published" is the percentage that
    a paper prints for the method on that backbone and suite.
    """
    from vlbench.backbones import backbone_row
    from vlbench.cards import find_methods, find_tasks
    from vlbench.cards.load import all_methods
    from vlbench.techniques import technique_faults

    refuse_outside_code(context)
    backbone_row(backbone)  # an unknown name is an error before anything is built
    suite, cards = find_tasks(tasks)
    changes = list(merged_settings(settings))
    if method:
        items = [
            _count(card, backbone, suite, cards, changes)
            for card in find_methods(method, technique_faults)
        ]
    else:
        items = _count_those_that_fit(all_methods(), backbone, suite, cards, changes)
    if json:
        print_json("params", items)
    elif groups:
        names = list(items[0]["groups"])
        rows = [
            [
                item["method"],
                f"{item['trainable']:,}",
                *(f"{item['groups'][name]['trainable']:,}" for name in names),
            ]
            for item in items
        ]
        print_table(rows, ["method", "trainable", *names], numbers=["trainable", *names])
    else:
        rows = [[item["method"], *_totals(item)] for item in items]
        print_table(rows, ["method", *NUMBERS], numbers=NUMBERS)


def _count_those_that_fit(
    methods: Sequence[MethodCard],
    backbone: str,
    suite: str,
    tasks: Sequence[TaskCard],
    settings: list[str],
) -> list[Item]:
    """The counts of all methods but those that cannot work here; a note says which and why.

    Where none can, the options are at fault, and it is an error, as a faulty card is.
    """
    items: list[Item] = []
    reasons: dict[str, VlbenchError] = {}
    for card in methods:
        try:
            items.append(_count(card, backbone, suite, tasks, settings))
        except CardError:
            raise
        except VlbenchError as error:
            reasons[card.name] = error
    if not items:
        raise next(iter(reasons.values()))
    for name, reason in reasons.items():
        note(f"vlbench: {name} is left out: {reason}")
    return items


def _count(
    card: MethodCard,
    backbone: str,
    suite: str,
    tasks: Sequence[TaskCard],
    settings: list[str],
) -> Item:
    from vlbench.backbones import build_backbone
    from vlbench.leaderboard.paper import published_percent
    from vlbench.techniques import resolve_method
    from vlbench.techniques.adapt import adapt, count

    resolved = resolve_method(card, backbone, suite, settings)
    shapes = build_backbone(backbone, meta=True, visual=tasks[0].visual)
    model = adapt(shapes, resolved, [task.name for task in tasks])
    counts = count(model)
    is_ours = card.folder is None and not settings  # as the paper's row is
    published = published_percent(card.name, backbone, suite) if is_ours else None
    return {
        "method": card.name,
        "aliases": list(card.aliases),
        "backbone": backbone,
        "suite": suite,
        "settings": settings,
        "technique": resolved.technique,
        "sharing": resolved.sharing,
        "width": model.technique.reduced_width(shapes),
        "trainable": counts.trainable,
        "total": counts.total,
        "trainable_percent": counts.percent,
        "published_percent": published,
        "denominator": counts.denominator,
        "groups": {name: group._asdict() for name, group in counts.groups.items()},
    }


def _totals(item: Item) -> list[str]:
    published = item["published_percent"]
    return [
        "-" if item["width"] is None else f"{item['width']:,}",
        f"{item['trainable']:,}",
        f"{item['total']:,}",
        f"{item['trainable_percent']:.2f}",
        "-" if published is None else f"{published:.2f}",
    ]
