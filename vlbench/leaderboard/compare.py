"""Two rows held against each other, task by task and on average: by how much they differ, how sure.

A and B may come from two folders of results. They are compared where suite, edition, backbone and
its weights, scope, limit and a task's data are the same; anything else is not comparable, with the
reason. All tests of one comparison are a family, for Holm. The gate of CI refuses what dropped or
is lost.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from vlbench.cards.load import is_path, known_names
from vlbench.errors import DataError, NothingToReport, UsageError, WorseThanAllowed, nearest
from vlbench.leaderboard.board import AVERAGE, Board, Row, split_overrides
from vlbench.leaderboard.examples import Examples, same_ids
from vlbench.leaderboard.load import Filters, read_boards
from vlbench.leaderboard.statistics import (
    LEVEL,
    RowScores,
    Test,
    holm,
    holm_levels,
    test_difference,
)
from vlbench.leaderboard.tables import number, title
from vlbench.text import printable

SETUP = ("suite", "edition", "backbone", "scope", "limit")
"""What of a board must be the same, in the order of what says most about where one looked."""
ROUNDING = 1e-6
"""How far, relatively, a recorded value may be from what its predictions give."""
KEY = re.compile(r"[0-9a-f]{6,}")
"""A run's key, or the beginning of one."""


class Side(NamedTuple):
    """One of the two: a row, the board it stands in, and where its predictions lie."""

    board: Board
    row: Row
    examples: Examples

    @property
    def folder(self) -> str:
        """Where its results lie, as it is shown."""
        return printable(str(self.examples.folder))

    def values(self, metric: str) -> dict[int, float]:
        """Return the recorded values by seed."""
        runs = {run.key: run for run in self.board.runs}
        values = {seed: runs[key].values.get((metric, "")) for seed, key in self.row.runs.items()}
        return {seed: value for seed, value in values.items() if value is not None}


@dataclass(frozen=True)
class Item:
    """A task's main metric, or the average: both values and the test, or why there is none."""

    task: str
    metric: str
    a: float | None = None  # mean over its seeds
    b: float | None = None
    seeds_a: tuple[int, ...] = ()
    seeds_b: tuple[int, ...] = ()
    tested: Test | None = None
    p_holm: float | None = None
    level: float = LEVEL  # at which Holm's procedure tests it
    reason: str = ""  # why it cannot be compared

    @property
    def is_shown(self) -> bool:
        """Whether the test tells the two apart."""
        return self.p_holm is not None and self.p_holm < LEVEL

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval at Holm's level, which leaves out 0 exactly where a difference is shown."""
        return None if self.tested is None else self.tested.interval(self.level)

    @property
    def verdict(self) -> str:
        """The outcome in words."""
        if self.tested is None:
            return "not comparable"
        if not self.is_shown:
            return "no difference shown"
        return "A better" if self.tested.difference > 0 else "B better"


class Pair(NamedTuple):
    """A and B in one place, on A's board; a side that has no row anywhere near is None."""

    board: Board
    a: Side | None
    b: Side | None
    items: list[Item]
    missing: str = ""  # which side has no runs here, in words


class Fault(NamedTuple):
    """A number that does not pass the gate: `dropped`, or `lost` as B has it, or seeds of it."""

    pair: Pair
    item: Item
    kind: str
    text: str


class Gate(NamedTuple):
    """Outcome of the gate: the points that a number may drop, how many were compared, faults."""

    max_drop: float
    compared: int
    faults: Sequence[Fault]

    @property
    def is_passed(self) -> bool:
        """Whether something was compared and no fault is there."""
        return self.compared > 0 and not self.faults

    @property
    def notes(self) -> list[str]:
        """The outcome, for the end of a table."""
        drop = f"a significant drop of more than {points(self.max_drop)}"
        rule = f"{drop}, or a lost number or seed, fails."
        if not self.compared:
            return ["Gate: nothing could be compared, which never passes."]
        if self.is_passed:
            return [f"Gate passed: {self.compared} compared; {rule}"]
        titles = [title(fault.pair.board) for fault in self.faults]
        ends = [f" ({name})." if len(set(titles)) > 1 else "." for name in titles]
        texts = [fault.text + end for fault, end in zip(self.faults, ends, strict=True)]
        return [f"Gate failed: {rule}", *texts]


def points(value: float, format: str = "g") -> str:
    """Format a number of points, as it was typed or in another format."""
    return f"{value:{format}} point{'' if value == 1 else 's'}"


def count_compared(pairs: Iterable[Pair]) -> int:
    """Count the numbers that were compared."""
    return sum(item.tested is not None for pair in pairs for item in pair.items)


def both_sides(
    a: str,
    b: str | None,
    results: Path,
    baseline: Path | None,
    filters: Filters,
    damaged: list[DataError] | None = None,
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
    b_sides = _sides(list(rows.values()) if b is None or b == a else [b], *theirs)
    files = [
        {(s.examples.folder.resolve(), key) for s in sides for key in s.row.runs.values()}
        for sides in (a_sides, b_sides)
    ]
    if files[0] & files[1]:  # they would always be equal, and a gate on them always open
        raise UsageError(
            f"A and B are the same runs of {a_sides[0].row.label}. Name another row, or with "
            "--baseline another folder of results."
        )
    return compare(a_sides, b_sides)


def compare(a_sides: Sequence[Side], b_sides: Sequence[Side]) -> list[Pair]:
    """Compare A and B wherever one of them is."""
    labels = [_label(a_sides, b_sides), _label(b_sides, a_sides)]
    matched = [(_likest(b, a_sides), b) for b in b_sides]
    taken = [id(a) for a, _ in matched]
    left = [(a, _likest(a, b_sides)) for a in a_sides if id(a) not in taken]
    pairs = [_pair(a, b, labels) for a, b in [*matched, *left]]
    p = [item.tested.p for pair in pairs for item in pair.items if item.tested]
    family = iter(zip(holm(p), holm_levels(p), strict=True))

    def with_holm(item: Item) -> Item:
        p_holm, level = next(family) if item.tested else (None, LEVEL)
        return replace(item, p_holm=p_holm, level=level)

    return [pair._replace(items=list(map(with_holm, pair.items))) for pair in pairs]


def check_max_drop(max_drop: float) -> None:
    """Refuse what could never fail or means nothing."""
    if not math.isfinite(max_drop) or max_drop < 0:
        raise UsageError(f"--max-drop {max_drop}: should be points from 0 up, for example 1.5.")


def gate(pairs: Sequence[Pair], max_drop: float) -> Gate:
    """Find what of the comparison does not pass."""
    faults = []
    for pair in pairs:
        for item in pair.items:
            texts = {}
            had = set(pair.b.values(item.metric)) if pair.b else set()
            lost = sorted(had - set(item.seeds_a))  # the average's are those of its tasks
            if item.tested is None and pair.b and pair.b.row.stat(item.metric).n:
                texts["lost"] = f"lost: {item.reason}"
            if item.tested and item.is_shown and item.tested.difference < -max_drop:
                texts["dropped"] = f"dropped by {points(-item.tested.difference, '.1f')}"
            if item.tested and lost:
                texts["lost"] = f"lost: seed{'s' * (len(lost) > 1)} {', '.join(map(str, lost))}"
            if texts:
                text = f"{item.task} {', '.join(texts.values())}"
                faults.append(Fault(pair, item, next(iter(texts)), text))
    return Gate(max_drop, count_compared(pairs), faults)


def refuse(pairs: Sequence[Pair], outcome: Gate | None) -> None:
    """Raise the error with its exit code where nothing was compared or the gate has a fault."""
    if not count_compared(pairs):
        missing = "; ".join(pair.missing for pair in pairs if pair.missing)
        why = f": {missing}." if missing else "; the reasons stand beside each task."
        raise NothingToReport(f"Nothing could be compared{why}")
    if outcome and outcome.faults:
        n, rule = len(outcome.faults), outcome.notes[0].partition(": ")[2]
        what = "number does" if n == 1 else "numbers do"
        raise WorseThanAllowed(f"The gate failed: {n} {what} not pass; {rule}")


def find_rows(name: str | Row, boards: Sequence[Board]) -> list[tuple[Board, Row]]:
    """Find in each board the row that a user means, or that is the same as another folder's.

    Behind a method's colon stands what tells the row from others of its method, as much of it as is
    needed and in any order: `--set` overrides, `from=` with the first digits of the weights it
    started from, `card=` with the version of its cards. What matches exactly wins: `compacter` is
    the card as is. The key of a run names its row. UsageError where several rows answer, or where
    nothing of that name is known.
    """
    if isinstance(name, Row):
        same = name.method, name.overrides
        rows = [[r for r in board.rows if (r.method, r.overrides) == same] for board in boards]
        return _only(name.label, boards, rows)
    cards, (method, _, rest) = known_names("methods"), name.partition(":")
    spelt, details = method.strip(), frozenset(split_overrides(rest))
    known = Path(spelt).stem if is_path(spelt) else cards[spelt].name if spelt in cards else spelt
    every = [row for board in boards for row in board.rows]
    methods = {row.method for row in every}
    rows = []
    for board in boards:
        method = spelt if any(row.method == spelt for row in board.rows) else known
        own = [
            row
            for row in board.rows
            if (KEY.fullmatch(name) and any(key.startswith(name) for key in row.runs.values()))
            or (row.method == method and all(_has(row, detail) for detail in details))
        ]
        rows.append([row for row in own if _details(row) == details] or own)
    if not any(rows) and not {known, spelt} & {*cards, *methods}:
        raise UsageError(
            f"'{name}' names no row: neither a method nor the key of a run. "
            f"{nearest(name, {*methods, *map(typed, every)})}"
        )
    return _only(name, boards, rows)


def typed(row: Row) -> str:
    """Return what to type for the row: its name, or a run's key where the name has a colon."""
    parts = sorted(_details(row))
    name = f"{row.method}:{','.join(parts)}" if parts else row.method
    return next(iter(row.runs.values()), name) if ":" in row.method else name


def _only(
    name: str, boards: Sequence[Board], rows: Sequence[Sequence[Row]]
) -> list[tuple[Board, Row]]:
    for several in rows:
        if len(several) > 1:
            lines = "\n".join(f"  {quote(typed(row))}" for row in several)
            raise UsageError(f"'{name}' names {len(several)} rows; type one of:\n{lines}")
    return [(board, own[0]) for board, own in zip(boards, rows, strict=True) if own]


def _has(row: Row, detail: str) -> bool:
    begins = detail.startswith(("from=", "card="))  # hashes need only begin so
    return any(own.startswith(detail) if begins else own == detail for own in _details(row))


def _details(row: Row) -> frozenset[str]:
    """What tells the row from others of its method, as one types it."""
    return row.overrides | ({f"card={row.card}"} if row.card else set())


def _sides(names: Sequence[str | Row], boards: Sequence[Board], examples: Examples) -> list[Side]:
    """The rows of these names in each board that has one; an error where none has."""
    sides = [Side(*pair, examples) for name in names for pair in find_rows(name, boards)]
    if not sides:
        labels = ", ".join(name if isinstance(name, str) else name.label for name in names)
        lines = [f"{examples.folder}: No results of {labels}. There is:"]
        for board in boards:
            rows = ", ".join(quote(typed(row)) for row in board.rows)
            lines.append(f"  {title(board)}: {rows}")
        raise NothingToReport("\n".join(lines))
    return sides


def _label(sides: Sequence[Side], others: Sequence[Side]) -> str:
    """What a side is called where it has no row; several rows of it are those of the other."""
    labels = {side.row.label for side in sides}
    label = sides[0].row.label if len(labels) == 1 else others[0].row.label
    is_other = all(label != side.row.label for side in others)
    return label if is_other else f"{label} of {sides[0].folder}"


def _likest(one: Side, others: Iterable[Side]) -> Side | None:
    """The side that agrees most; None where no other is of this suite."""

    def likeness(other: Side) -> tuple[bool | int, ...]:
        agree = [ours == theirs for _, ours, theirs in _setups(one, other)]
        grounds = other.board.grounds
        same = sum(grounds.get(task) == ground for task, ground in one.board.grounds.items())
        return *agree, same

    suite = [other for other in others if other.board.suite == one.board.suite]
    return max(suite, key=likeness, default=None)


def _setups(a: Side, b: Side) -> list[tuple[str, object, object]]:
    """What must be the same of both sides, by the name a reader knows it by."""
    weights = [str(side.row.facts["backbone_hash"])[:8] for side in (a, b)]
    return [
        *((name, getattr(a.board, name), getattr(b.board, name)) for name in SETUP),
        ("weights of the backbone", weights[0], weights[1]),
    ]


def _pair(a: Side | None, b: Side | None, labels: Sequence[str]) -> Pair:
    boards = [side.board for side in (a, b) if side]
    mains = {task: task for board in boards for task in board.mains}
    mains |= {task: name for board in boards for task, name in board.mains.items() if name != task}
    items = [Item(*name) for name in mains.items()]
    average = [Item(AVERAGE, AVERAGE)] * (len(mains) > 1)
    missing, reason = "", ""
    if a is None or b is None:
        who = f"A ({labels[0]})" if a is None else f"B ({labels[1]})"
        missing = reason = f"{who} has no runs of {boards[0].suite}"
    else:
        reason = "; ".join(
            f"{name}: {'none' if x is None else x} against {'none' if y is None else y}"
            for name, x, y in _setups(a, b)
            if x != y
        )
    if a is None or b is None or reason:
        items = [replace(item, reason=reason) for item in items + average]
        return Pair(boards[0], a, b, items, missing)
    items = [_tested(a, b, item, {item.task: item.metric}) for item in items]
    untested = ", ".join(item.task for item in items if item.tested is None)
    reason = f"{untested} cannot be compared" if untested else ""
    items += [_tested(a, b, item, mains, reason) for item in average]
    return Pair(boards[0], a, b, items)


def _tested(a: Side, b: Side, item: Item, metrics: Mapping[str, str], reason: str = "") -> Item:
    """The item with both values and the test of their difference, over these tasks."""
    try:
        if item.task != AVERAGE:
            reason = _obstacle(a, b, item.task)
        if reason:
            raise DataError(reason)
        (row_a, ours), (row_b, theirs) = _scored("A", a, metrics), _scored("B", b, metrics)
        for task in metrics:
            if not same_ids(a.examples.ids(row_a, task), b.examples.ids(row_b, task)):
                raise DataError(f"A and B were tested on different examples of {task}")
    except DataError as error:
        return replace(item, reason=printable(str(error)))
    return replace(
        item,
        a=100 * ours.mean,
        b=100 * theirs.mean,
        seeds_a=row_a.seeds,
        seeds_b=row_b.seeds,
        tested=test_difference(ours, theirs),
    )


def _obstacle(a: Side, b: Side, task: str) -> str:
    """Why the two have nothing in common on a task, if so."""
    sides = {"A": a, "B": b}
    missing = [
        n for n, side in sides.items() if not side.row.stat(side.board.mains.get(task, "")).n
    ]
    if missing:
        return f"{' and '.join(missing)} {'have' if len(missing) > 1 else 'has'} no result"
    ours, theirs = a.board.grounds[task], b.board.grounds[task]
    if ours.metric != theirs.metric:
        return f"metric {ours.metric} against {theirs.metric}"
    if ours.data_fingerprint != theirs.data_fingerprint:
        return f"data {ours.data_fingerprint[:8]} against {theirs.data_fingerprint[:8]}"
    if ours.n_examples != theirs.n_examples:
        return f"{ours.n_examples:,} examples against {theirs.n_examples:,}"
    return ""


def _scored(name: str, side: Side, metrics: Mapping[str, str]) -> tuple[Row, RowScores]:
    """The row with the seeds that have all tasks, and its scores; DataError where they do not give
    the values which the report prints."""
    values = {metric: side.values(metric) for metric in metrics.values()}
    seeds = sorted(set.intersection(*map(set, values.values())))
    if not seeds:
        raise DataError(f"no seed of {name} has all tasks")
    row = replace(side.row, runs={seed: side.row.runs[seed] for seed in seeds})
    scores = side.examples.row_scores(row, list(metrics))
    for task, metric in metrics.items():
        for seed, key in row.runs.items():
            given, recorded = side.examples.mean(key, task), values[metric][seed]
            if abs(given - recorded) > ROUNDING * max(1.0, abs(recorded)):
                raise DataError(
                    f"{name}'s predictions of run {key} give {number(given)} for {metric}, its "
                    f"result says {number(recorded)}"
                )
    return row, scores
