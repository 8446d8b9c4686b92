"""The options that choose among runs that are done, the same for `verify` and `results export`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vlbench.verifying.choosing import Filters

Methods = Annotated[
    list[str] | None, typer.Option("--method", help="Only these methods, comma list or repeated.")
]
Tasks = Annotated[
    list[str] | None, typer.Option(help="Only this suite (or task, or comma list of tasks).")
]
Backbones = Annotated[
    list[str] | None,
    typer.Option("--backbone", help="Only these backbones, comma list or repeated."),
]
Editions = Annotated[
    list[str] | None, typer.Option("--edition", help="Only these editions, comma list or repeated.")
]
Seeds = Annotated[str | None, typer.Option(help="Only these seeds, with commas between.")]


def filters(
    method: list[str] | None,
    tasks: list[str] | None,
    backbone: list[str] | None,
    edition: list[str] | None,
    seeds: str | None,
) -> Filters:
    """The options as the choice takes them."""
    from vlbench.cli.selectors import numbers
    from vlbench.verifying.choosing import Filters

    return Filters(
        methods=method or (),
        tasks=tasks or (),
        backbones=backbone or (),
        editions=edition or (),
        seeds=numbers(seeds) if seeds else (),
    )
