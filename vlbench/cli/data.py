"""`vlbench data`: make and check data, extract features."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.options import (
    HIGHEST_SEED,
    MOST,
    Edition,
    Json,
    OutsideCode,
    Root,
    refuse_outside_code,
)
from vlbench.cli.output import (
    counting,
    example,
    note,
    print_document,
    print_json,
    print_table,
    subcommands,
)
from vlbench.errors import MissingError, UsageError, nearest

if TYPE_CHECKING:
    from vlbench.cards.schema import TaskCard
    from vlbench.data.check import SplitCheck

data = subcommands("Make and check data, extract features.")


@data.command("make-mini", epilog=example("data make-mini --out my-mini --seed 1"))
def make_mini(
    out: Annotated[Path, typer.Option(help="A new folder for the edition.")],
    seed: Annotated[
        int, typer.Option(min=0, max=HIGHEST_SEED, help="Another seed, another world.")
    ] = 0,
) -> None:
    """Write the mini edition in the official file formats.

    A contact sheet shows its pictures and clips.
    """
    from vlbench.data.mini import edition

    edition.make_mini(out, seed, lambda what: note(f"writing {what}"))
    note(f"Look at {out / 'contact_sheet.png'} and {out / 'video_sheet.png'}")
    typer.echo(str(out))


@data.command("check", epilog=example("data check --tasks image-text --edition full --root data"))
def check(
    context: typer.Context,
    tasks: Annotated[
        str | None,
        typer.Option(help="Suites or tasks with commas between; all of the edition if left out."),
    ] = None,
    root: Root = None,
    edition: Edition = None,
    backbone: Annotated[
        str, typer.Option(help="The backbone whose features are looked for.")
    ] = "mini-bart",
    encoder: Annotated[
        str | None, typer.Option(help="Look for features of this encoder instead.")
    ] = None,
    features: Annotated[
        list[Path] | None, typer.Option(help="A feature store, repeatable.")
    ] = None,
    outside_code: OutsideCode = False,
    json: Json = False,
) -> None:
    """Report what a run would miss of its data.

    Every split is read, its pictures and features are looked for. Exit code 0 only when a run could
    start.
    """
    from vlbench.data.check import check_tasks
    from vlbench.runs.plan import data_root, task_edition, wanted_features

    refuse_outside_code(context)
    checks: list[SplitCheck] = []
    stores = tuple(store.expanduser().resolve() for store in features or ())
    for cards in _by_visual(tasks, edition):
        chosen = task_edition(cards, edition)
        folder = data_root(cards, chosen, root, note)
        wanted = wanted_features(backbone, cards[0].visual, encoder or "", stores)
        checks += check_tasks(cards, chosen, folder, wanted, note)
    if json:
        print_json("check", [check.as_json() for check in checks])
    else:
        columns = ("task", "split", "examples", "pictures", "features", "state")
        print_table([_row(check) for check in checks], columns)
    _report_problems(checks)


def _by_visual(tasks: str | None, edition: str | None) -> list[list[TaskCard]]:
    """The task cards asked for, those about pictures and those about clips apart."""
    from vlbench.backbones import VISUALS
    from vlbench.cards import find_tasks
    from vlbench.cards.load import all_tasks, split_names

    if tasks is None:
        cards = [card for card in all_tasks() if (edition or "mini") in card.splits]
        if not cards:
            known = {name for card in all_tasks() for name in card.splits}
            raise UsageError(f"--edition {edition}: no task has it. {nearest(str(edition), known)}")
    else:
        cards = [card for name in split_names(tasks) for card in find_tasks(name)[1]]
    apart = [[card for card in cards if card.visual == visual] for visual in VISUALS]
    return [some for some in apart if some]


def _row(check: SplitCheck) -> list[str]:
    """One split as a line of the table."""
    counts = [f"{number:,} {what}" for what, number in check.counts.items()]
    number = "-" if check.examples is None else f"{check.examples:,}"
    if check.examples is not None and check.expected not in (None, check.examples):
        number += f" (published: {check.expected:,})"
    pictures = check.pictures - check.pictures_missing
    features = check.pictures - check.features_missing
    count = len(check.problems)
    state = "ready" if not count else f"{count:,} problem{'s' * (count > 1)}"
    return [
        check.task,
        check.split,
        ", ".join([number, *counts]),
        "-" if check.are_pictures_unread else f"{pictures:,} of {check.pictures:,}",
        "-" if check.examples is None else f"{features:,} of {check.pictures:,}",
        state if check.is_needed else f"{state} (only to submit)",
    ]


def _report_problems(checks: list[SplitCheck]) -> None:
    """Print the first problems of each split, without repetitions; raise where no run can start."""
    from vlbench.data.faults import SHOWN

    splits: dict[str, dict[str, list[str]]] = {}
    texts: dict[str, str] = {}
    for check in checks:
        for problem in check.problems[:SHOWN]:
            name = problem.partition(" (published at ")[0]  # tasks name other places for one file
            texts.setdefault(name, problem)
            splits.setdefault(name, {}).setdefault(check.task, []).append(check.split)
        if len(check.problems) > SHOWN:
            more = f"... and {len(check.problems) - SHOWN:,} more"
            texts[f"{check.task} {check.split}"] = more
            splits[f"{check.task} {check.split}"] = {check.task: [check.split]}
    lines = []
    for name, text in texts.items():
        tasks = "; ".join(f"{task} {', '.join(names)}" for task, names in splits[name].items())
        lines.append(f"{tasks}: {text}")
    if not all(check.is_ready for check in checks):
        raise MissingError("\n".join([*lines, "A run could not start with these data."]))
    for line in lines:
        note(line)


class Kind(StrEnum):
    """What lies in the folder."""

    PICTURES = "pictures"
    FRAMES = "frames"


@data.command(
    "extract-features",
    epilog=example("data extract-features --encoder mini --images img --out own"),
)
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
        int, typer.Option(min=1, max=MOST, help="Pictures encoded at once.")
    ] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu, or a GPU's number.")] = "auto",
    outside_code: OutsideCode = False,
    json: Json = False,
) -> None:
    """Run a frozen encoder over pictures or clips.

    The id of a picture is its file name without the suffix, that of a clip its folder's name. Work
    in progress lies in STORE.partial; the same command goes on with it.
    """
    from vlbench.data.stores.extract import extract_store
    from vlbench.data.stores.own import partial_of
    from vlbench.encoders import load_encoder

    refuse_outside_code(context)
    started = time.monotonic()
    loaded = load_encoder(encoder, weights, _torch_device(device))
    unit = "clips" if kind is Kind.FRAMES else kind.value
    try:
        with counting(unit) as count:
            store = extract_store(loaded, images, out, kind.value, batch_size, count, note)
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
                "count": len(store.ids),
                "tokens": loaded.tokens if kind is Kind.PICTURES else None,
                "width": store.width,
                "seconds": time.monotonic() - started,
            }
        )
    else:
        typer.echo(str(out))


def _torch_device(text: str) -> str:
    """`cpu` or `cuda:N`; `auto` is the first GPU where there is one."""
    import torch

    if text == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if text == "cpu":
        return "cpu"
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise UsageError(f"--device {text}: should be auto, cpu or a GPU's number.")
    if int(text) >= torch.cuda.device_count():
        raise MissingError(f"--device {text}: this machine has {torch.cuda.device_count()} GPUs.")
    return f"cuda:{text}"
