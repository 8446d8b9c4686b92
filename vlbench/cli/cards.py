"""`vlbench list`, `show` and `params`: methods, tasks, backbones, options, counted parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vlbench import cli
from vlbench.cli import options as opt
from vlbench.errors import CardError, DataError, UsageError, VlbenchError, nearest

if TYPE_CHECKING:
    from vlbench.cards import BackboneCard, MethodCard, TaskCard
    from vlbench.cards.schema import Card

Item = dict[str, Any]
LISTS: dict[str, Sequence[str]] = {
    "methods": ("name", "title", "technique", "sharing", "aliases"),
    "tasks": ("name", "title", "metric", "editions", "aliases"),
    "suites": ("name", "title", "tasks"),
    "backbones": ("name", "kind", "reads", "source", "is_here"),
    "runs": (
        *("key", "method", "settings", "init", "suite"),
        *("backbone", "edition", "scope", "seed", "status"),
    ),
}
"""What can be listed: the columns of its table."""
NUMBERS = {
    "width": "width",
    "trainable": "trainable",
    "total": "total",
    "%": "trainable_percent",
    "published": "published_percent",
}
"""Column of `params` -> key of the item."""


def list_cards(
    what: str = opt.argument(..., "methods, tasks, suites, backbones or runs."),
    results: Path = opt.RESULTS,
    json: bool = opt.JSON,
) -> None:
    """List methods, tasks, suites, backbones or runs."""
    if what not in LISTS:
        raise UsageError(f"Nothing called '{what}' to list. {nearest(what, LISTS)}")
    faults: list[DataError] = []
    items = _items(what, results, faults)
    cli.answer("list", items, LISTS[what], json)
    cli.end_left_out(faults)


def _items(what: str, results: Path, faults: list[DataError]) -> list[Item]:
    from vlbench.cards import load

    if what == "methods":
        keys = {*LISTS[what], "source"}
        return [card.model_dump(mode="json", include=keys) for card in load.all_methods()]
    if what == "tasks":
        keys = {"name", "title", "aliases", "source"}
        return [
            {
                **card.model_dump(mode="json", include=keys),
                "metric": f"{card.name}.{card.main_metric}",
                "editions": list(card.editions),
            }
            for card in load.all_tasks()
        ]
    if what == "suites":
        return [suite.model_dump(mode="json") for suite in load.load_suites().values()]
    if what == "backbones":
        return list(map(_backbone_item, load.all_backbones()))
    from vlbench.runs.folder import list_runs

    items, unreadable = list_runs(results)
    faults += unreadable
    return items


def _backbone_item(card: BackboneCard) -> Item:
    """What a backbone's card says, what it reads in a word, and whether its weights are here."""
    from vlbench.backbones.sources import is_here

    encoders = dict.fromkeys(features.encoder for features in card.features.values())
    reads = ", ".join(encoders) or "pictures"
    item = card.model_dump(mode="json")
    return {**item, "reads": reads, "is_here": is_here(card.source_of())}


def show(
    name: str = opt.argument(..., "A method, task, suite or backbone, or a path."),
    json: bool = opt.JSON,
) -> None:
    """Show a card as it is written.

    With --json every default is filled in.
    """
    cards = list(_named(name))
    if json:
        cli.print_json("show", [item for item, _ in cards])
    else:
        cli.say("\n\n".join(text for _, text in cards))


def _named(name: str) -> Iterator[tuple[Item, str]]:
    """Everything of that name: as JSON, and as text."""
    from vlbench.backbones import find_backbone
    from vlbench.cards import load

    suites = load.load_suites()
    known: dict[str, set[str]] = {
        "method": set(load.known_names("methods")),
        "task": set(load.known_names("tasks")),
        "backbone": set(load.known_names("backbones")),
        "suite": set(suites),
    }
    kinds = [kind for kind, names in known.items() if name in names]
    if name.endswith(".toml"):
        table = load.read_table(load.find_card("methods", name))
        kinds = ["method" if "technique" in table else "backbone" if "kind" in table else "task"]
        if kinds == ["task"] and load.find_suite(name, suites):
            kinds = ["suite"]
    elif load.is_path(name):
        kinds = ["backbone"]
    elif not kinds:
        names = set().union(*known.values())
        raise UsageError(f"Nothing called '{name}' to show. {nearest(name, names)}")
    for kind in kinds:
        if kind == "suite":
            suite = load.find_suite(name, suites)
            assert suite is not None
            item = suite.model_dump(mode="json")
            yield {"kind": kind, **item}, _lines(item)
            continue
        card: Card
        if kind == "backbone":
            card = find_backbone(name)
        else:
            card = load.load_method(name) if kind == "method" else load.load_task(name)
        item = card.model_dump(mode="json")
        if "kind" in item:  # "kind" says what is shown
            item["backbone_kind"] = item.pop("kind")
        text = card.text() or _lines(card.model_dump(exclude_defaults=True, mode="json"))
        yield {"kind": kind, "file": card.shown, **item}, f"# {card.shown}\n{text}"


def _lines(table: Item) -> str:
    return "\n".join(f"{key} = {cli.cell(value)}" for key, value in table.items())


def params(
    context: typer.Context,
    method: list[str] | None = opt.option(None, "Methods, comma list or repeated; else all."),
    backbone: str = opt.BACKBONE,
    tasks: str = opt.option("image-text", "A suite, a task or a comma list of tasks."),
    settings: list[str] | None = opt.SETTINGS,
    groups: bool = opt.flag("--groups", "Show which parts of the model they belong to."),
    outside_code: bool = opt.OUTSIDE_CODE,
    json: bool = opt.JSON,
) -> None:
    """Count trainable parameters, without training.

    "width" is what `params.reduction` leaves of the hidden size. "published" is the percentage that
    a paper prints for the method on that backbone and suite.
    """
    from vlbench.backbones import find_backbone
    from vlbench.cards import find_methods, find_tasks
    from vlbench.cards.load import all_methods
    from vlbench.techniques import technique_faults

    opt.refuse_outside_code(context)
    backbone_card = find_backbone(backbone)  # an unknown name is an error before anything is built
    suite, cards = find_tasks(tasks)
    changes = list(opt.merged_settings(settings))
    methods = find_methods(method, technique_faults) if method else all_methods()
    items: list[Item] = []
    reasons: list[VlbenchError] = []
    for card in methods:
        try:
            items.append(_count(card, backbone_card, suite, cards, changes))
        except VlbenchError as error:
            if method or isinstance(error, CardError):
                raise
            cli.note(f"vlbench: {card.name} is left out: {error}")
            reasons.append(error)
    if not items:  # where no method works, the options are at fault
        raise reasons[0]
    if json:
        cli.print_json("params", items)
        return
    columns = ["trainable", *items[0]["groups"]] if groups else list(NUMBERS)
    rows = []
    for item in items:
        parts = [group["trainable"] for group in item["groups"].values()]
        values = [item["trainable"], *parts] if groups else [item[key] for key in NUMBERS.values()]
        rows.append([item["method"], *map(_number, values)])
    cli.print_table(rows, ["method", *columns], numbers=columns)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else f"{value:,}"


def _count(
    card: MethodCard,
    backbone: BackboneCard,
    suite: str,
    tasks: Sequence[TaskCard],
    settings: list[str],
) -> Item:
    from vlbench.backbones import build_backbone
    from vlbench.leaderboard.paper import published_percent
    from vlbench.techniques import resolve_method
    from vlbench.techniques.adapt import adapt, count

    resolved = resolve_method(card, backbone.name, suite, settings, backbone.like)
    shapes = build_backbone(
        backbone.reference,
        meta=True,
        visual=tasks[0].visual,
        weights=resolved.train.weights,
    )
    model = adapt(shapes, resolved, [task.name for task in tasks])
    counts = count(model)
    published = published_percent(card.name, backbone.name, suite)
    is_ours = card.folder is None and not settings  # as the paper's row is
    return {
        "method": card.name,
        "aliases": list(card.aliases),
        "backbone": backbone.name,
        "suite": suite,
        "settings": settings,
        "technique": resolved.technique,
        "sharing": resolved.sharing,
        "width": model.technique.reduced_width(shapes),
        "trainable": counts.trainable,
        "total": counts.total,
        "trainable_percent": counts.percent,
        "published_percent": published if is_ours else None,
        "denominator": counts.denominator,
        "model_parameters": counts.whole,
        "projector": counts.trains_projector,
        "groups": {name: group._asdict() for name, group in counts.groups.items()},
    }
