"""`vlbench pretrain`: make the embedded backbone's weights again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlbench.cli.output import note, print_document
from vlbench.errors import UsageError, nearest

PRETRAINED = ("mini-bart",)


def pretrain(
    backbone: Annotated[str, typer.Argument(help="The backbone to pretrain: mini-bart.")],
    out: Annotated[Path, typer.Option(help="Folder for the weights.")] = Path("mini-bart"),
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps; the shipped weights' if left out.")
    ] = None,
) -> None:
    """Pretrain an embedded backbone from nothing; prints its recipe with what it can do."""
    if backbone not in PRETRAINED:
        raise UsageError(f"Cannot pretrain '{backbone}'. {nearest(backbone, PRETRAINED)}")
    from vlbench.pretraining.recipe import STEPS, pretrain_mini_bart

    recipe = pretrain_mini_bart(out, steps or STEPS, note)
    note(f"Use it with: vlbench run --backbone mini-bart --backbone-path {out}")
    print_document(recipe)
