"""`vlbench sweep`: the same search of the learning rate for every method."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from vlbench import cli
from vlbench.cli import options as opt
from vlbench.errors import UsageError
from vlbench.text import results_option

if TYPE_CHECKING:
    from vlbench.leaderboard.normalised import Ruler
    from vlbench.runs.launch import Outcome
    from vlbench.runs.spec import RunSpec
    from vlbench.sweep import Search

COLUMNS = ("method", "rate", "seed 1000", "seed 1001", "mean", "")


@opt.with_options
def sweep(
    context: typer.Context,
    cells: opt.CellOptions,
    launch: opt.LaunchOptions,
    write: bool = opt.flag("--write", "Write the best rates, and what was tried, into the cards."),
) -> None:
    """Search every method's learning rate alike.

    Five rates around the card's, one more outwards where the best lies at the end, the best two
    again with a second seed. The same command again goes on where it was stopped.
    """
    from vlbench import sweep as searching
    from vlbench.runs.folder import RunFolder
    from vlbench.runs.launch import find_launcher, outcome_of
    from vlbench.runs.local import FINAL
    from vlbench.runs.plan import plan
    from vlbench.runs.watch import new_view

    opt.refuse_outside_code(context)
    if write:
        _refuse_to_write(cells)
    launcher = find_launcher(launch.resources())

    def do(specs: Sequence[RunSpec]) -> list[Outcome]:
        folders = {spec.key: RunFolder.of(launch.results, spec) for spec in specs}
        failed = {k: f for k, f in folders.items() if f.state in FINAL}
        to_do = [spec for spec in specs if spec.key not in failed]
        n_left = sum(not folders[spec.key].is_done for spec in to_do)
        outcomes = {o.spec.key: o for o in launcher.run(to_do, launch.results, new_view(n_left))}
        return [
            outcome_of(spec, failed[spec.key]) if spec.key in failed else outcomes[spec.key]
            for spec in specs
        ]

    with launcher.warm():
        chosen = cells.selection(launcher.device, seeds=searching.SEEDS[:1], is_trial=True)
        bases = plan(chosen, cli.note)
        if idle := [base.method.name for base in bases if not base.method.train.epochs]:
            cli.note(f"{', '.join(idle)}: nothing trains, so there is no rate to search.")
        try:
            bases = [base for base in bases if base.method.train.epochs]
            searches, ruler = searching.search(bases, do)
        except searching.Unfinished as waiting:
            again = f"vlbench status{results_option(launch.results)}"
            cli.note(f"{waiting}: {again} shows them, the same sweep goes on when they are.")
            return
    items = [_item(base, own, ruler) for base, own in zip(bases, searches, strict=True)]
    if launch.json:
        cli.print_json("sweep", items)
    else:
        cli.print_table([row for item in items for row in _rows(item)], COLUMNS, COLUMNS[1:5])
        cli.say(f"\n{_note(ruler)}")
    for base, own in zip(bases, searches, strict=True):
        for error in own.errors:
            cli.note(f"No score: {error}")
        if write:
            _write(base, own, ruler)


def _refuse_to_write(cells: opt.CellOptions) -> None:
    """Refuse to write what was searched otherwise than boards are run, or of what is not ours."""
    from vlbench.cards.load import is_path, own_cards, split_names

    names = ("limit", "settings", "init", "encoder", "features", "edition")
    given = [f"--{'set' if name == 'settings' else name}" for name in names if getattr(cells, name)]
    if given:
        raise UsageError(f"--write: leave out {', '.join(given)}: cards are for runs without.")
    if cells.backbone not in own_cards("backbones") or any(map(is_path, split_names(cells.tasks))):
        raise UsageError("--write: cards name backbones and tasks of ours alone.")


def _write(spec: RunSpec, own: Search, ruler: Ruler | None) -> None:
    from vlbench.cards.load import find_card
    from vlbench.cards.tuned import Searched, write_tuned, written
    from vlbench.sweep import SEEDS

    rate, seeds = own.ranked(ruler)[0], " and ".join(map(str, SEEDS))
    selected_on = f"normalised validation score, seeds {seeds} (vlbench sweep)"
    outcome = Searched(spec.pattern, rate, own.center, list(own.trials), own.count, selected_on)
    file = find_card("methods", spec.method_file or spec.method.name)
    done = "is written" if write_tuned(file, outcome) else "stood there before"
    cli.note(f"{file.shown}: train.learning_rate = {written(rate)} for {spec.pattern} {done}")


def _item(base: RunSpec, own: Search, ruler: Ruler | None) -> dict[str, Any]:
    from vlbench.sweep import trial

    def cells(rate: float) -> dict[str, Any]:
        scores = own.scores(rate, ruler)
        return {
            "rate": rate,
            "runs": {str(seed): trial(base, rate, seed).key for seed in own.trials[rate]},
            "scores": {str(seed): score for seed, score in scores.items()},
            "mean": statistics.fmean(scores.values()) if scores else None,
        }

    return {
        **{name: value for name, value in base.facts.items() if name not in ("key", "seed")},
        "card_rate": own.card_rate,
        "best_rate": own.ranked(ruler)[0],
        "n_trials": own.count,
        "trials": [cells(rate) for rate in sorted(own.trials)],
    }


def _rows(item: dict[str, Any]) -> list[list[str]]:
    rows = []
    for cells in item["trials"]:
        marks = [("best", "best_rate"), ("the card's", "card_rate")]
        words = [word for word, name in marks if item[name] == cells["rate"]]
        scores = [_shown(cells, seed) for seed in ("1000", "1001")]
        mean = "" if cells["mean"] is None else f"{cells['mean']:.1f}"
        rows.append([item["method"], f"{cells['rate']:g}", *scores, mean, ", ".join(words)])
    return rows


def _shown(cells: dict[str, Any], seed: str) -> str:
    if seed not in cells["runs"]:
        return ""
    return f"{cells['scores'][seed]:.1f}" if seed in cells["scores"] else "failed"


def _note(ruler: Ruler | None) -> str:
    if ruler is None:
        return "Scores are plain means of the validation metrics: no task tells the trials apart."
    left_out = "".join(f" {name} is left out: {why}." for name, why in ruler.saturated.items())
    return (
        "Scores are normalised, of the validation splits: 100 is the best trial of full, or "
        "without one the best of any, 0 the majority answer or a baseline's best trial."
        f"{left_out}"
    )
