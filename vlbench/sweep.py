"""One search of the learning rate for every method, decided by the validation splits.

Five rates in steps of about three around the card's with one seed, one more outwards where the best
lies at the end, then the best two again with another seed. A trial is a run like any other, but
scored on the validation splits and never in a table.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from vlbench.backbones import find_backbone
from vlbench.cards import load_method
from vlbench.cards.schema import MethodCard
from vlbench.cards.tuned import searched_around
from vlbench.errors import DataError, RunFailed, UsageError, VlbenchError
from vlbench.leaderboard.board import FLOORS
from vlbench.leaderboard.normalised import Ruler, find_ruler
from vlbench.leaderboard.results import read_result, read_results
from vlbench.leaderboard.trials import RATE, settings_without_rate, trial_rows
from vlbench.runs.launch import Outcome
from vlbench.runs.local import FINAL
from vlbench.runs.packed import stored_run
from vlbench.runs.spec import RunSpec
from vlbench.runs.sums import RESULT
from vlbench.techniques import resolve_method

SEEDS = (1000, 1001)
"""Of the search, and of its best two rates again: seeds of no board."""
FACTORS = (0.1, 0.32, 1.0, 3.2, 10.0)
AGAIN = 2
"""Rates that are tried with the second seed."""
Do = Callable[[Sequence[RunSpec]], Sequence[Outcome]]


class Score(NamedTuple):
    """A main metric of a trial, and what the most frequent answer scores."""

    value: float
    majority: float | None


Scores = Mapping[str, Score]
"""Main metric -> score of one trial; empty where it failed."""


class Cell(NamedTuple):
    """What the trials of one search have in common."""

    suite: str
    backbone: str
    edition: str
    limit: int | None
    settings: tuple[str, ...]
    init: str
    backbone_hash: str
    data: tuple[tuple[str, str], ...]

    @property
    def pattern(self) -> str:
        """`backbone/suite`, as in a card's `when`."""
        return f"{self.backbone}/{self.suite}"

    @property
    def title(self) -> str:
        """The search in words."""
        cut = "" if self.limit is None else f", {self.limit} examples a task"
        overrides = f" ({', '.join(self.settings)})" if self.settings else ""
        return f"{self.suite} on {self.backbone}, {self.edition} edition{cut}{overrides}: search"


class Unfinished(Exception):
    """Trials that others still have to do, such as a cluster."""


@dataclass
class Search:
    """The trials of one method."""

    method: str
    card_rate: float
    center: float
    trials: dict[float, dict[int, Scores]] = field(default_factory=dict)  # rate -> seed -> scores
    errors: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """The number of trials, those that failed among them."""
        return sum(map(len, self.trials.values()))

    def scores(self, rate: float, ruler: Ruler | None) -> dict[int, float]:
        """Seed -> score at a rate, of trials that have one: normalised, else the plain mean."""
        scores = {}
        for seed, values_of in self.trials[rate].items():
            values = {name: score.value for name, score in values_of.items()}
            if values:
                score = ruler.score(values) if ruler else None
                scores[seed] = statistics.fmean(values.values()) if score is None else score
        return scores

    def means(self, ruler: Ruler | None) -> dict[float, float]:
        """Rate -> mean score over seeds, from low to high rates, of rates that have one."""
        scores = {rate: self.scores(rate, ruler) for rate in sorted(self.trials)}
        return {rate: statistics.fmean(own.values()) for rate, own in scores.items() if own}

    def ranked(self, ruler: Ruler | None) -> list[float]:
        """The rates with a score, best first: of both seeds, of one, of one beside a failure."""
        means = self.means(ruler)
        # a seed with a score speaks for a rate, one that failed against it
        is_sure = {r: sum(1 if own else -1 for own in self.trials[r].values()) for r in means}
        return sorted(means, key=lambda r: (is_sure[r], means[r]), reverse=True)


def rates(center: float) -> list[float]:
    """Five rates in steps of about three, from low to high."""
    return [_step(center, factor) for factor in FACTORS]


def _step(rate: float, factor: float) -> float:
    return float(f"{rate * factor:.1g}") if factor != 1 else rate


def trial(base: RunSpec, rate: float, seed: int) -> RunSpec:
    """Return the spec of a trial: the base with `--set train.learning_rate=RATE` and the seed."""
    train = base.method.train.model_copy(update={"learning_rate": rate})
    method = base.method.model_copy(update={"train": train})
    settings = (*base.settings, f"{RATE}={rate:g}")
    return base.model_copy(update={"method": method, "settings": settings, "seed": seed})


def search(bases: Sequence[RunSpec], do: Do) -> tuple[list[Search], Ruler | None]:
    """Do the trials of every method in three stages; return them with what they are scored by.

    A trial that fails, as where a rate is too high, has no score. Unfinished where a launcher
    leaves trials to others: the same search goes on from there. RunFailed where all trials of a
    method failed, or where one was stopped.
    """
    if typed := [t for base in bases for t in base.settings if t.startswith(RATE)]:
        raise UsageError(f"--set {typed[0]}: is what a sweep searches: leave it out.")
    pairs = [
        (base, Search(base.method.name, *_rates_of(base.method, base.pattern))) for base in bases
    ]
    searches = [own for _, own in pairs]
    _try(pairs, [rates(own.center) for own in searches], SEEDS[0], do)
    ruler = ruler_of(searches)
    _try(pairs, [_outwards(own, ruler) for own in searches], SEEDS[0], do)
    ruler = ruler_of(searches)
    _try(pairs, [own.ranked(ruler)[:AGAIN] for own in searches], SEEDS[1], do)
    return searches, ruler_of(searches)


def _rates_of(card: MethodCard, pattern: str) -> tuple[float, float]:
    """The card's rate, and the one that the search which it names began with, or its rate again."""
    rate = card.train.learning_rate
    return rate, searched_around(pattern, card.tuning.searched) or rate


def _outwards(own: Search, ruler: Ruler | None) -> list[float]:
    """One rate more where the best lies at the end."""
    best, tried = next(iter(own.ranked(ruler)), None), sorted(own.trials)
    if best not in (tried[0], tried[-1]):
        return []
    return [_step(best, 0.32 if best == tried[0] else 3.2)]


def _try(
    pairs: Sequence[tuple[RunSpec, Search]], wanted: Sequence[list[float]], seed: int, do: Do
) -> None:
    trials = [
        (own, rate, trial(base, rate, seed))
        for (base, own), chosen in zip(pairs, wanted, strict=True)
        for rate in chosen
    ]
    outcomes = do([spec for *_, spec in trials])
    for outcome in outcomes:
        if outcome.exit_code not in (0, RunFailed.exit_code) or outcome.status == "cancelled":
            error = RunFailed(f"{outcome.spec.name}: {outcome.error}\n  {outcome.folder.log}")
            error.exit_code = outcome.exit_code
            raise error
    if waiting := [outcome for outcome in outcomes if outcome.status not in ("done", *FINAL)]:
        raise Unfinished(f"{len(waiting)} of {len(outcomes)} trials are not done")
    for (own, rate, _), outcome in zip(trials, outcomes, strict=True):
        scores = _scores(outcome) if outcome.status == "done" else {}
        own.trials.setdefault(rate, {})[seed] = scores
        own.errors += [f"{outcome.spec.name}: {outcome.error}"] * (not scores)
    for _, own in pairs:
        if own.trials and not any(scores for by in own.trials.values() for scores in by.values()):
            raise RunFailed("\n".join(["All trials failed:", *own.errors]))


def _scores(outcome: Outcome) -> dict[str, Score]:
    file = stored_run(outcome.folder.path.parents[1], outcome.spec.key) / RESULT
    rows = read_result(file).to_pylist()
    main = (row for row in rows if row["main"] and not row["family"])
    return {row["metric"]: Score(row["value"], row["majority"]) for row in main}


def ruler_of(searches: Sequence[Search]) -> Ruler | None:
    """What trials are scored by; None where no task can tell them apart.

    100 is the best trial of full fine-tuning, or without one the best of any, task by task; 0 the
    majority answer or the best trial of a baseline.
    """
    full = [own for own in searches if own.method == "full"]
    of_full = _best(full or searches)
    of_floors = _best([own for own in searches if own.method in FLOORS])
    majorities: dict[str, list[float]] = {name: [0.0] for name in of_full}
    for own in searches:
        for scores in (scores for by in own.trials.values() for scores in by.values()):
            for name, score in scores.items():
                majorities[name] += [] if score.majority is None else [score.majority]
    floors = {name: [max(known), of_floors.get(name, 0.0)] for name, known in majorities.items()}
    ruler = find_ruler("full", of_full, floors) if of_full else None
    return ruler if ruler and ruler.floors else None


def _best(searches: Sequence[Search]) -> dict[str, float]:
    """Main metric -> the highest value of any trial."""
    best: dict[str, float] = {}
    for own in searches:
        for scores in (scores for by in own.trials.values() for scores in by.values()):
            for name, score in scores.items():
                best[name] = max(score.value, best.get(name, score.value))
    return best


def stored_searches(
    results: Path, damaged: list[DataError] | None = None
) -> dict[Cell, list[Search]]:
    """Return the trials that a results folder keeps, by what they have in common but the method.

    `damaged` is as in `read_results`. A card's rates are those of today, NaN without a card.
    """
    searches: dict[Cell, dict[str, Search]] = {}
    for _, rows in trial_rows(read_results(results, damaged)).groupby("key"):
        first, scores = rows.iloc[0], {}
        for row in rows.to_dict("records"):
            if row["status"] == "done":
                majority = None if pd.isna(row["majority"]) else row["majority"]
                scores[row["metric"]] = Score(row["value"], majority)
        cell = Cell(
            *(first["suite"], first["backbone"], first["edition"]),
            None if pd.isna(first["limit"]) else int(first["limit"]),
            settings_without_rate(first["settings"]),
            first["init"],
            first["backbone_hash"],
            tuple(sorted(zip(rows["task"], rows["data_fingerprint"], strict=True))),
        )
        method = first["method"]
        by_method = searches.setdefault(cell, {})
        own = by_method.setdefault(method, Search(method, *card_rates(method, cell)))
        own.trials.setdefault(first["learning_rate"], {})[int(first["seed"])] = scores
    return {cell: list(by_method.values()) for cell, by_method in searches.items()}


def card_rates(method: str, cell: Cell) -> tuple[float, float]:
    """Today's learning rate of the method's card, and the one that its search began with.

    NaN where there is no such card.
    """
    try:
        card, backbone = load_method(method), find_backbone(cell.backbone)
        resolved = resolve_method(card, cell.backbone, cell.suite, cell.settings, backbone.like)
    except VlbenchError:
        return math.nan, math.nan
    return _rates_of(resolved, cell.pattern)
