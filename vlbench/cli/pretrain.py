"""`vlbench pretrain`: make the embedded backbone's weights again."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from vlbench.cli import selectors
from vlbench.cli.output import note, print_document
from vlbench.errors import UsageError, nearest
from vlbench.files import writing

PRETRAINED = ("mini-bart", "mini-bart-clips")


def pretrain(
    backbone: Annotated[
        str, typer.Argument(help="mini-bart, or mini-bart-clips: the same, gone on with clips.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the weights; the backbone's name if left out.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, max=selectors.MOST, help="Training steps; the shipped weights' if left out."
        ),
    ] = None,
) -> None:
    """Pretrain embedded weights again; prints their recipe with what the model can do."""
    if backbone not in PRETRAINED:
        raise UsageError(f"Cannot pretrain '{backbone}'. {nearest(backbone, PRETRAINED)}")
    from vlbench.pretraining import recipe

    folder = out or Path(backbone)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if backbone == "mini-bart":
        made = recipe.pretrain_mini_bart(folder, steps or recipe.STEPS, note)
    else:
        made = recipe.pretrain_on_clips(folder, steps or recipe.CLIP_STEPS, note)
    tasks = "image-text" if backbone == "mini-bart" else "video-text"
    path = quote(str(folder))
    note(f"Use it with: vlbench run --backbone mini-bart --backbone-path {path} --tasks {tasks}")
    print_document(made)
