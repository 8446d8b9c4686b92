"""`vlbench data`: make and check data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlbench.cli.output import note, print_json, print_table

data = typer.Typer(
    help="Make and check data.", no_args_is_help=True, rich_markup_mode=None, add_completion=False
)


@data.command("make-mini")
def make_mini(
    out: Annotated[Path, typer.Option(help="A new folder for the edition.")],
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another world.")] = 0,
) -> None:
    """Write the mini edition in the official file formats, with a contact sheet."""
    from vlbench.data.mini import edition

    edition.make_mini(out, seed, lambda what: note(f"writing {what}"))
    note(f"Look at {out / 'contact_sheet.png'}")
    typer.echo(str(out))


@data.command("check")
def check(
    tasks: Annotated[str, typer.Option(help="A suite, a task, or tasks with commas between.")],
    root: Annotated[Path | None, typer.Option(help="Where the data lie.")] = None,
    edition: Annotated[
        str | None, typer.Option(help="mini (generated) or full (official files).")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read every split and open every picture; say what is there or what is wrong."""
    from vlbench.cards import find_tasks
    from vlbench.data.check import check as check_reader
    from vlbench.data.readers import load_reader
    from vlbench.running.plan import data_root, task_edition

    _, cards = find_tasks(tasks)
    chosen = task_edition(cards, edition)
    folder = data_root(chosen, root, note)
    items = []
    for card in cards:
        splits = card.splits[chosen]
        names = dict.fromkeys([*splits.train, *splits.val, *splits.test])
        for found in check_reader(load_reader(card.reader, folder), names):
            items.append(
                {
                    "task": card.name,
                    "split": found.split,
                    "examples": found.examples,
                    "pictures": found.pictures,
                }
            )
    if json:
        print_json("check", items)
        return
    rows = [[str(value) for value in item.values()] for item in items]
    print_table(rows, ("task", "split", "examples", "pictures"))
