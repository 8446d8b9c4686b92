"""`vlbench data`: make and check data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.config import refuse_outside_code
from vlbench.cli.extract import extract_features
from vlbench.cli.output import note, print_json, print_table
from vlbench.cli.selectors import HIGHEST_SEED, OutsideCode

if TYPE_CHECKING:
    from vlbench.cards.task import TaskCard
    from vlbench.data.check import SplitCheck

data = typer.Typer(
    help="Make and check data.", no_args_is_help=True, rich_markup_mode=None, add_completion=False
)

data.command("extract-features")(extract_features)


@data.command("make-mini")
def make_mini(
    out: Annotated[Path, typer.Option(help="A new folder for the edition.")],
    seed: Annotated[
        int, typer.Option(min=0, max=HIGHEST_SEED, help="Another seed, another world.")
    ] = 0,
) -> None:
    """Write the mini edition in the official file formats, with a contact sheet."""
    from vlbench.data.mini import edition

    edition.make_mini(out, seed, lambda what: note(f"writing {what}"))
    note(f"Look at {out / 'contact_sheet.png'} and {out / 'video_sheet.png'}")
    typer.echo(str(out))


@data.command("check")
def check(
    context: typer.Context,
    tasks: Annotated[
        str | None,
        typer.Option(help="Suites or tasks with commas between; all of the edition if left out."),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Where the data lie.")] = None,
    edition: Annotated[
        str | None, typer.Option(help="mini (generated) or full (official files).")
    ] = None,
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
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read every split, look for its pictures and features; say what a run would miss.

    Exit code 0 only when a run could start.
    """
    from vlbench.data.check import check_tasks
    from vlbench.running.plan import data_root, task_edition, wanted_features

    refuse_outside_code(context)
    found = []
    folders = tuple(each.expanduser().resolve() for each in features or ())
    for cards in _by_visual(tasks, edition):
        chosen = task_edition(cards, edition)
        folder = data_root(cards, chosen, root, note)
        wanted = wanted_features(backbone, cards[0].visual, encoder or "", folders)
        found += check_tasks(cards, chosen, folder, wanted, note)
    if json:
        print_json("check", [each.as_json() for each in found])
    else:
        print_table(
            [_row(each) for each in found],
            ("task", "split", "examples", "pictures", "features", "state"),
        )
    _tell_problems(found)


def _by_visual(tasks: str | None, edition: str | None) -> list[list[TaskCard]]:
    """The task cards asked for, those about pictures and those about clips apart."""
    from vlbench.backbones import VISUALS
    from vlbench.cards import find_tasks
    from vlbench.cards.files import split_names
    from vlbench.cards.task import all_tasks
    from vlbench.errors import UsageError, nearest

    if tasks is None:
        cards = [card for card in all_tasks() if (edition or "mini") in card.splits]
        if not cards:
            known = {name for card in all_tasks() for name in card.splits}
            raise UsageError(f"--edition {edition}: no task has it. {nearest(str(edition), known)}")
    else:
        cards = [card for name in split_names(tasks) for card in find_tasks(name)[1]]
    apart = [[card for card in cards if card.visual == visual] for visual in VISUALS]
    return [each for each in apart if each]


def _row(found: SplitCheck) -> list[str]:
    """A line of the table."""
    counts = [f"{number:,} {what}" for what, number in found.counts.items()]
    number = "-" if found.examples is None else f"{found.examples:,}"
    if found.examples is not None and found.expected not in (None, found.examples):
        number += f" (published: {found.expected:,})"
    there = found.pictures - found.pictures_missing
    held = found.pictures - found.features_missing
    count = len(found.problems)
    state = "ready" if not count else f"{count:,} problem{'s' * (count > 1)}"
    return [
        found.task,
        found.split,
        ", ".join([number, *counts]),
        "-" if found.are_pictures_unread else f"{there:,} of {found.pictures:,}",
        "-" if found.examples is None else f"{held:,} of {found.pictures:,}",
        state if found.is_needed else f"{state} (only to submit)",
    ]


def _tell_problems(found: list[SplitCheck]) -> None:
    """The first problems of each split on stderr, each told once; raises where no run can start."""
    from vlbench.data.faults import SHOWN
    from vlbench.errors import MissingError

    splits: dict[str, dict[str, list[str]]] = {}
    texts: dict[str, str] = {}
    for each in found:
        for problem in each.problems[:SHOWN]:
            name = problem.partition(" (published at ")[0]  # tasks name other places for one file
            texts.setdefault(name, problem)
            splits.setdefault(name, {}).setdefault(each.task, []).append(each.split)
        if len(each.problems) > SHOWN:
            more = f"... and {len(each.problems) - SHOWN:,} more"
            texts[f"{each.task} {each.split}"] = more
            splits[f"{each.task} {each.split}"] = {each.task: [each.split]}
    lines = []
    for name, text in texts.items():
        wanted = "; ".join(f"{task} {', '.join(of)}" for task, of in splits[name].items())
        lines.append(f"{wanted}: {text}")
    if all(each.is_ready for each in found):
        for line in lines:
            note(line)
        return
    raise MissingError("\n".join([*lines, "A run could not start with these data."]))
