"""Two rows held against each other, task by task and on average: by how much they differ, how sure.

They are compared where suite, edition, backbone and its weights, scope, limit and a task's data are
the same. All tests of one comparison are a family, for Holm. The gate refuses drops and losses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from statistics import fmean
from typing import Any, NamedTuple

from vlbench.errors import DataError, NothingToReport, UsageError, WorseThanAllowed
from vlbench.leaderboard import statistics
from vlbench.leaderboard.board import AVERAGE, SETUP, Board, Row, split_overrides
from vlbench.leaderboard.examples import Examples, same_ids
from vlbench.leaderboard.load import Filters, method_name, read_boards
from vlbench.leaderboard.normalised import NORMALISED, Ruler
from vlbench.leaderboard.statistics import LEVEL, MARGIN, RowScores, Scale
from vlbench.leaderboard.tables import title
from vlbench.text import printable

KEY = re.compile(r"[0-9a-f]{6,}")  # a run's key, or the beginning of one
NAMED = (*SETUP, "task", "metric")  # what tells an item from others
TESTED = (
    *("difference", "low", "high", "level", "p", "p_holm", "n_examples", "test"),
    *("margin", "low_90", "high_90"),
)
"""What of an item is null where it is not comparable."""
Item = dict[str, Any]
"""A task's main metric, or a mean over tasks, of A and B, with their test: an item of the JSON."""


class Side(NamedTuple):
    """One of the two: a row, the board it stands in, and where its predictions lie."""

    board: Board
    row: Row
    examples: Examples

    @property
    def name(self) -> str:
        """The row and its results folder."""
        return f"{self.row.label} of {printable(str(self.examples.folder))}"

    @property
    def setup(self) -> tuple[object, ...]:
        """What both sides must have in common, besides their data."""
        setup = (getattr(self.board, name) for name in SETUP)
        return *setup, self.row.facts["backbone_hash"]

    def scale(self, rows: Sequence[Row], scores: Sequence[RowScores]) -> Scale | None:
        """Return the scale of the board's normalised score: its row is among `rows`, or not."""
        ruler = self.board.ruler
        if ruler is None:
            return None
        full = next(row for row in self.board.marked or self.board.rows if row.label == ruler.row)
        metrics = {task: self.board.mains[task] for task in self.board.counted}
        full = replace(full, runs=self._replace(row=full).with_all(metrics.values()))
        same = (own for row, own in zip(rows, scores, strict=True) if row.runs == full.runs)
        of_full = next(same, None) or self.examples.row_scores(full, self.board.counted)
        return Scale(of_full, ruler.fractions)

    def normalised(self, ruler: Ruler, metrics: Mapping[str, str]) -> float | None:
        """Return the mean normalised score by a ruler, over the runs that have all metrics."""
        values = {run.key: run.values for run in self.board.runs}
        scores = [
            ruler.score({name: values[key].get((name, "")) for name in metrics.values()})
            for key in self.with_all(metrics.values()).values()
        ]
        known = [score for score in scores if score is not None]
        return fmean(known) if known else None

    def with_all(self, metrics: Iterable[str]) -> dict[int, str]:
        """Return the runs, by seed, that have a value of each of the metrics."""
        names, values = [*metrics], {run.key: run.values for run in self.board.runs}
        return {
            seed: key
            for seed, key in self.row.runs.items()
            if all(values[key].get((metric, "")) is not None for metric in names)
        }

    def cells(self, metrics: Mapping[str, str], task: str, metric: str) -> dict[str, Any]:
        """Return who it was, the mean over seeds, and what that stands on."""
        row, ground = self.row, self.board.grounds.get(task)
        return {
            **{name: getattr(row, name) for name in ("method", "settings", "init")},
            "card_hash": row.facts["card_hash"],
            "results": str(self.examples.folder),
            "value": row.stat(metric).mean,
            "runs": {str(seed): key for seed, key in self.with_all(metrics.values()).items()},
            "data_fingerprint": ground and ground.data_fingerprint,
        }


class Pair(NamedTuple):
    """A and B on boards of one setup; None is a side that has no runs there."""

    board: Board
    a: Side | None
    b: Side | None
    items: list[Item]


Gate = dict[str, Any]  # as JSON has it: max_drop, is_passed, compared, faults


def both_sides(
    a: str,
    b: str | None,
    results: Path,
    baseline: Path | None,
    filters: Filters,
    damaged: list[DataError] | None = None,
    margin: float = MARGIN,
) -> list[Pair]:
    """Compare row `a` of `results` with row `b` of `baseline`, or of `results` too.

    Without `b`, or with the same name, B is the row of the baseline with A's method, settings and
    starting weights. `damaged` is as in `read_results`.
    """
    ours = read_boards(results, filters, damaged=damaged), Examples(results, damaged)
    theirs = ours
    a_sides = _sides([a], *ours)
    if baseline is not None:
        theirs = read_boards(baseline, filters, damaged=damaged), Examples(baseline, damaged)
    rows = {(side.row.method, side.row.overrides): side.row for side in a_sides}
    b_sides = _sides([*rows.values()] if b is None or b == a else [b], *theirs)

    def runs(sides: Sequence[Side]) -> set[tuple[Path, str]]:
        return {(s.examples.folder.resolve(), key) for s in sides for key in s.row.runs.values()}

    if runs(a_sides) & runs(b_sides):  # they would always be equal, and a gate on them always open
        raise UsageError(
            f"A and B are the same runs of {a_sides[0].row.label}. Name another row, or with "
            "--baseline another folder of results."
        )
    return compare(a_sides, b_sides, margin)


def compare(a_sides: Sequence[Side], b_sides: Sequence[Side], margin: float = MARGIN) -> list[Pair]:
    """Compare A and B wherever one of them is; they match within `margin` normalised points."""
    if not margin > 0:
        raise UsageError(f"--margin {margin}: should be points above 0, for example 5.")
    matched: list[tuple[Side | None, Side | None, str]] = []
    left = list(a_sides)
    for b in b_sides:
        data = b.board.grounds.items()
        fitting = (side for side in left if side.setup == b.setup)
        a = max(fitting, key=lambda side: len(data & side.board.grounds.items()), default=None)
        left = [other for other in left if other is not a]
        matched.append((a, b, f"A ({a_sides[0].name})"))
    matched += [(a, None, f"B ({b_sides[0].name})") for a in left]
    pairs = [_pair(*pair, margin) for pair in matched]
    tested = [item for pair in pairs for item in pair.items if item["test"]]
    p = [item["test"].p for item in tested]
    family = zip(tested, statistics.holm(p), statistics.holm_levels(p), strict=True)
    for item, p_holm, level in family:
        test = item["test"]
        item |= dict(zip(("low", "high"), test.interval(level), strict=True))
        item |= dict(zip(("low_90", "high_90"), test.interval(2 * LEVEL), strict=True))
        item |= {"difference": test.difference, "p": test.p, "p_holm": p_holm, "level": level}
        item |= {"verdict": statistics.verdict(test, p_holm, item["margin"])}
        item |= {"n_examples": test.n_examples, "test": test.name}
    return pairs


def count_compared(pairs: Sequence[Pair]) -> int:
    """Count the numbers that were compared."""
    return sum(not item["reason"] for pair in pairs for item in pair.items)


def gate(pairs: Sequence[Pair], max_drop: float) -> Gate:
    """Find what of the comparison drops by more points, or is lost."""
    if not max_drop >= 0:
        raise UsageError(f"--max-drop {max_drop}: should be points from 0 up, for example 1.5.")
    faults = []
    for item in (item for pair in pairs if pair.b for item in pair.items):
        texts = {}
        if item["task"] == NORMALISED:  # its points are others than those of the tasks
            continue
        if not item["reason"] and item["p_holm"] < LEVEL and item["difference"] < -max_drop:
            texts["dropped"] = f"dropped by {-item['difference']:.1f} points"
        if item["reason"] and item["b"]["value"] is not None:
            texts["lost"] = f"lost: {item['reason']}"
        lost = item["b"]["runs"].keys() - (item["a"] or item["b"])["runs"].keys()
        if not item["reason"] and item["task"] != AVERAGE and lost:
            texts["lost"] = f"lost: seed{'s'[: len(lost) - 1]} {', '.join(sorted(lost, key=int))}"
        if texts:
            text = f"{item['suite']}: {item['task']} {', '.join(texts.values())}."
            named = {name: item[name] for name in NAMED}
            faults.append({**named, "kind": next(iter(texts)), "text": text})
    n = count_compared(pairs)
    return dict(max_drop=max_drop, is_passed=n > 0 and not faults, compared=n, faults=faults)


def gate_notes(gate: Gate) -> list[str]:
    """Say the outcome, for the end of a table."""
    drop = f"a significant drop of more than {gate['max_drop']:g} points"
    rule = f"{drop}, or a lost number or seed, fails."
    if not gate["compared"]:
        return ["Gate: nothing could be compared, which never passes."]
    if gate["is_passed"]:
        return [f"Gate passed: {gate['compared']} compared; {rule}"]
    return [f"Gate failed: {rule}", *(fault["text"] for fault in gate["faults"])]


def refuse(pairs: Sequence[Pair], gate: Gate | None) -> None:
    """Raise the error with its exit code where nothing was compared or the gate has a fault."""
    if not count_compared(pairs):
        reasons = dict.fromkeys(item["reason"] for pair in pairs for item in pair.items)
        raise NothingToReport(f"Nothing could be compared: {'; '.join(reasons)}.")
    if gate and gate["faults"]:
        rule = gate_notes(gate)[0].partition(": ")[2]
        raise WorseThanAllowed(f"The gate failed, {len(gate['faults'])} do not pass: {rule}")


def find_rows(name: str | Row, boards: Sequence[Board]) -> list[tuple[Board, Row]]:
    """Find in each board the row that a user means, or that is the same as another folder's.

    A name is a method, alone or with all that tells the row from others of it (as `typed` has it,
    in any order), or the key of a run. Alone it means the card as is, else the only row of the
    method. UsageError where several rows answer, or where the method is not known.
    """
    every = [row for board in boards for row in board.rows]
    key, method, details = "", "", frozenset[str]()
    if isinstance(name, str) and KEY.fullmatch(name):
        key = next((k for row in every for k in row.runs.values() if k.startswith(name)), "")
    if isinstance(name, str) and not key:
        method, _, rest = name.partition(":")
        method = method_name(method.strip(), {row.method for row in every})
        details = frozenset(split_overrides(rest))

    def fit(row: Row) -> int:
        if isinstance(name, Row):
            return (row.method, row.overrides) == (name.method, name.overrides)
        if key:
            return key in row.runs.values()
        return (row.method == method) * (2 * (_details(row) == details) or not details)

    rows = []
    for board in boards:
        best = max(map(fit, board.rows))
        own = [row for row in board.rows if best and fit(row) == best]
        if len(own) > 1:
            lines = "\n".join(f"  {quote(typed(row))}" for row in own)
            shown = name if isinstance(name, str) else name.label
            raise UsageError(f"'{shown}' names {len(own)} rows; type one of:\n{lines}")
        rows += [(board, row) for row in own]
    return rows


def typed(row: Row) -> str:
    """Return what to type for the row."""
    return ":".join(filter(None, [row.method, ",".join(sorted(_details(row)))]))


def _details(row: Row) -> frozenset[str]:
    return row.overrides | ({f"card={row.card}"} if row.card else set())


def _sides(names: Sequence[str | Row], boards: Sequence[Board], examples: Examples) -> list[Side]:
    sides = [Side(*row, examples) for name in names for row in find_rows(name, boards)]
    if not sides:
        labels = ", ".join(name if isinstance(name, str) else name.label for name in names)
        others = ", ".join(sorted({quote(typed(row)) for board in boards for row in board.rows}))
        raise NothingToReport(f"{examples.folder}: No results of {labels}. There is: {others}.")
    return sides


def _pair(a: Side | None, b: Side | None, missing: str, margin: float) -> Pair:
    boards = [side.board for side in (a, b) if side]
    mains = {**boards[-1].mains}
    mains |= {t: m for t, m in boards[0].mains.items() if m != t or t not in mains}
    means = {AVERAGE: mains} if len(mains) > 1 else {}
    ruled = next((side for side in (b, a) if side and NORMALISED in side.board.columns), None)
    ruler = ruled and ruled.board.ruler
    if ruled and mains == ruled.board.mains:
        means[NORMALISED] = {task: mains[task] for task in ruled.board.counted}
    items: list[Item] = []
    for task, metric in [*mains.items(), *((name, name) for name in means)]:
        metrics = means.get(task, {task: metric})
        untested = ", ".join(i["task"] for i in items if i["reason"] and i["task"] in metrics)
        item = {name: getattr(boards[0], name) for name in SETUP}
        item |= {"task": task, "metric": metric, "verdict": "not comparable", "reason": None}
        item |= dict.fromkeys([*TESTED, "normalised_by"])
        item |= {name: s and s.cells(metrics, task, metric) for name, s in (("a", a), ("b", b))}
        if task == NORMALISED and ruled and ruler:
            item["normalised_by"] = f"{ruler.row} of {printable(str(ruled.examples.folder))}"
            for name, side in (("a", a), ("b", b)):
                item |= {name: side and item[name] | {"value": side.normalised(ruler, metrics)}}
        try:
            if a is None or b is None:
                setup = f"{title(boards[0])} with the same weights of the backbone"
                raise DataError(f"{missing} has no runs of {setup}")
            if untested and task in means:
                raise DataError(f"{untested} cannot be compared")
            item["test"] = test_sides(a, b, metrics, ruled if task == NORMALISED else None)
            spans = {NORMALISED: 100.0} | (ruler.spans if ruler else {})
            item["margin"] = margin * spans[metric] / 100 if metric in spans else None
        except DataError as error:
            item["reason"] = printable(str(error))
        items.append(item)
    return Pair(boards[0], a, b, items)


def test_sides(a: Side, b: Side, metrics: Mapping[str, str], ruled: Side | None) -> statistics.Test:
    """Test A against B on the mean of metrics: normalised, where a side's board says by what."""
    sides = []
    for name, side in (("A", a), ("B", b)):
        if not (runs := side.with_all(metrics.values())):
            what = "no result" if len(metrics) == 1 else "no seed with all tasks"
            raise DataError(f"{name} has {what}")
        sides.append(side._replace(row=replace(side.row, runs=runs)))
    for task in metrics:
        grounds = [side.board.grounds[task] for side in sides]
        if grounds[0] != grounds[1]:
            texts = [f"data {g.data_fingerprint[:8]}, {g.n_examples:,} examples" for g in grounds]
            raise DataError(" against ".join(texts))
        if not same_ids(*(side.examples.ids(side.row, task) for side in sides)):
            raise DataError(f"A and B were tested on different examples of {task}")
    scores = [side.examples.row_scores(side.row, [*metrics]) for side in sides]
    scale = ruled and ruled.scale([side.row for side in sides], scores)
    return statistics.test_difference(scores[0], scores[1], scale)
