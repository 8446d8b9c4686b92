"""`vlbench params`: how many parameters train, of how many, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlbench.cli.config import merged_settings, refuse_outside_code
from vlbench.cli.output import note, print_json, print_table
from vlbench.cli.selectors import OutsideCode
from vlbench.cli.show import Json
from vlbench.errors import CardError, VlbenchError

if TYPE_CHECKING:
    from vlbench.cards import MethodCard, TaskCard

Item = dict[str, Any]
NUMBERS = ("width", "trainable", "total", "%", "published")


def params(
    context: typer.Context,
    method: Annotated[
        list[str] | None, typer.Option(help="Methods, comma list or repeated; all when left out.")
    ] = None,
    backbone: Annotated[str, typer.Option(help="The backbone to adapt.")] = "mini-bart",
    tasks: Annotated[
        str, typer.Option(help="A suite, a task or a comma list of tasks.")
    ] = "image-text",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", envvar="VLBENCH_SET", help="Override a card's key: params.reduction=4."
        ),
    ] = None,
    groups: Annotated[
        bool, typer.Option("--groups", help="Show which parts of the model they belong to.")
    ] = False,
    outside_code: OutsideCode = False,
    json: Json = False,
) -> None:
    """Count the trainable parameters of methods, by group, without weights or training.

    "width" is what `params.reduction` leaves of the hidden size. "published" is the percentage that
    a paper prints for the method on that backbone and suite.
    """
    from vlbench.backbones import backbone_row
    from vlbench.cards import find_methods, find_tasks
    from vlbench.cards.load import all_methods

    refuse_outside_code(context)
    backbone_row(backbone)  # an unknown name is told before anything is built
    suite, cards = find_tasks(tasks)
    changes = list(merged_settings(settings))
    if method:
        items = [
            _count(card, backbone, suite, cards, changes)
            for card in find_methods(method, check_params=True)
        ]
    else:
        items = _count_those_that_fit(all_methods(), backbone, suite, cards, changes)
    if json:
        print_json("params", items)
    elif groups:
        names = list(items[0]["groups"])
        rows = [[item["method"], *_by_group(item, names)] for item in items]
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

    Where none can, the reason lies in what was asked, and it is an error, as a faulty card is.
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
    from vlbench.cards import resolve_method
    from vlbench.leaderboard.paper import published_percent
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


def _by_group(item: Item, names: Sequence[str]) -> list[str]:
    """What trains, and the parts of it."""
    return [f"{item['trainable']:,}", *(f"{item['groups'][name]['trainable']:,}" for name in names)]
