"""`vlbench data extract-features`: a feature store of a folder's pictures or clips."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vlbench.cli import selectors
from vlbench.cli.config import refuse_outside_code
from vlbench.cli.counting import counting
from vlbench.cli.devices import device_of
from vlbench.cli.output import note, print_document
from vlbench.cli.selectors import OutsideCode


class Kind(StrEnum):
    """What lies in the folder."""

    PICTURES = "pictures"
    FRAMES = "frames"


def extract_features(
    context: typer.Context,
    encoder: Annotated[str, typer.Option(help="mini, clip-rn101, clip-vit-b32, or module:name.")],
    images: Annotated[Path, typer.Option(help="The folder of the pictures, searched to its end.")],
    out: Annotated[Path, typer.Option(help="The store, a new folder.")],
    weights: Annotated[
        Path | None,
        typer.Option(help="The folder of the encoder's weights, if they are not installed."),
    ] = None,
    kind: Annotated[
        Kind, typer.Option(help="frames: every folder of pictures is a clip, a row per frame.")
    ] = Kind.PICTURES,
    batch_size: Annotated[
        int, typer.Option(min=1, max=selectors.MOST, help="Pictures encoded at once.")
    ] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu, or a GPU's number.")] = "auto",
    outside_code: OutsideCode = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a frozen encoder over pictures and keep what it gives; goes on where it was killed.

    The id of a picture is its file name without the suffix, that of a clip its folder's name. Work
    in progress lies in STORE.partial; the same command goes on with it.
    """
    from vlbench.data.stores.extract import extract_store
    from vlbench.data.stores.own import partial_of
    from vlbench.encoders import load_encoder

    refuse_outside_code(context)
    started = time.monotonic()
    loaded = load_encoder(encoder, weights, device_of(device, "--device"))
    unit = "clips" if kind is Kind.FRAMES else kind.value
    try:
        with counting(unit) as count:
            made = extract_store(loaded, images, out, kind.value, batch_size, count, note)
    except KeyboardInterrupt:
        note(f"{partial_of(out)} keeps what is done: the same command goes on with it.")
        raise
    if json:
        print_document(
            {
                "schema": "vlbench.extracted/1",
                "store": str(out),
                "encoder": loaded.name,
                "encoder_hash": loaded.hash,
                "kind": kind.value,
                "count": len(made.ids),
                "tokens": loaded.tokens if kind is Kind.PICTURES else None,
                "width": made.width,
                "seconds": time.monotonic() - started,
            }
        )
    else:
        typer.echo(str(out))
