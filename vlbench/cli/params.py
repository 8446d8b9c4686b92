"""`vlbench params`: how many parameters train, of how many, before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlbench.cli.output import print_json, print_table
from vlbench.cli.show import Json

if TYPE_CHECKING:
    from vlbench.cards import MethodCard

COLUMNS = ("method", "trainable", "total", "%")


def params(
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
    json: Json = False,
) -> None:
    """Count the trainable parameters of methods, by group, without weights or training."""
    from vlbench.cards import find_methods
    from vlbench.cards.method import all_methods

    cards = find_methods(method) if method else all_methods()
    items = [_count(card, backbone, tasks, settings or []) for card in cards]
    if json:
        print_json("params", items)
        return
    groups = list(items[0]["groups"])
    rows = [
        [
            item["method"],
            f"{item['trainable_parameters']:,}",
            f"{item['total_parameters']:,}",
            f"{item['trainable_percent']:.2f}",
            *(f"{item['groups'][group]['trainable']:,}" for group in groups),
        ]
        for item in items
    ]
    print_table(rows, [*COLUMNS, *groups])


def _count(card: MethodCard, backbone: str, selection: str, settings: list[str]) -> dict[str, Any]:
    from vlbench.backbones import backbone_row, build_backbone
    from vlbench.cards import find_tasks, resolve_method
    from vlbench.techniques.adapt import adapt
    from vlbench.techniques.counting import count

    backbone_row(backbone)  # an unknown name is told before anything else
    suite, tasks = find_tasks(selection)
    resolved = resolve_method(card, backbone, suite, settings)
    model = adapt(build_backbone(backbone, meta=True), resolved, [task.name for task in tasks])
    counts = count(model)
    return {
        "method": card.name,
        "backbone": backbone,
        "suite": suite,
        "settings": settings,
        "technique": resolved.technique,
        "sharing": resolved.sharing,
        "trainable_parameters": counts.trainable,
        "total_parameters": counts.total,
        "trainable_percent": counts.percent,
        "denominator": counts.denominator,
        "groups": {name: group._asdict() for name, group in counts.groups.items()},
    }
