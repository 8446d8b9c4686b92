"""Two rows held against each other, task by task and on average: by how much they differ, how sure.

A and B may come from two folders of results. They are compared where suite, edition, backbone and
its weights, scope, limit and a task's data are the same; anything else is not comparable, with the
reason. All tests of one comparison are a family, for Holm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from vlbench.errors import DataError, NothingToReport, UsageError
from vlbench.leaderboard.board import AVERAGE, Board, Row
from vlbench.leaderboard.examples import Examples, refuse_other_examples
from vlbench.leaderboard.load import Filters, read_boards
from vlbench.leaderboard.row_names import RowName, find_in, typed
from vlbench.leaderboard.statistics import LEVEL, Test, holm, holm_levels, test_difference
from vlbench.leaderboard.tables import number, title
from vlbench.text import printable

PLACE = ("suite", "edition", "backbone", "scope", "limit")
"""What of a board must be the same, in the order of what says most about where one looked."""
ROUNDING = 1e-6
"""How far, relatively, a recorded value may be from what its predictions give."""


class Side(NamedTuple):
    """One of the two: a row, the board it stands in, and where its predictions lie."""

    board: Board
    row: Row
    examples: Examples

    @property
    def folder(self) -> str:
        """Where its results lie, as it is shown."""
        return printable(str(self.examples.folder))

    def value(self, metric: str, seed: int) -> float | None:
        """Return the recorded value of one seed, None where there is none."""
        key = self.row.runs.get(seed)
        run = next((run for run in self.board.runs if run.key == key), None)
        return None if run is None else run.values.get((metric, ""))

    def seeds(self, metric: str) -> set[int]:
        """Return the seeds with a value."""
        return {seed for seed in self.row.runs if self.value(metric, seed) is not None}

    def has(self, metric: str) -> bool:
        """Return whether the row has a value at all."""
        return self.row.stat(metric).n > 0


@dataclass(frozen=True)
class Item:
    """A task's main metric, or the average: both values and the test, or why there is none."""

    task: str
    metric: str
    a: float | None = None
    """Mean over its seeds."""
    b: float | None = None
    seeds_a: tuple[int, ...] = ()
    seeds_b: tuple[int, ...] = ()
    tested: Test | None = None
    p_holm: float | None = None
    level: float = LEVEL
    """At which Holm's procedure tests it."""
    reason: str = ""
    """Why it cannot be compared; empty where it was."""

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


@dataclass(frozen=True)
class Pair:
    """A and B in one place; a side that has no row anywhere near is None."""

    a: Side | None
    b: Side | None
    items: Sequence[Item]
    missing: str = ""
    """Which side has no runs here, in words; empty where both have some."""

    @property
    def board(self) -> Board:
        """The board of the side that is there: A's where both are."""
        side = self.a or self.b
        assert side is not None
        return side.board


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
    a_sides = _sides([RowName.parse(a)], *ours)
    theirs = ours
    if baseline is not None:
        theirs = read_boards(baseline, filters, damaged=damaged), Examples(baseline, damaged)
    if b is None or b == a:
        names = list(dict.fromkeys(RowName.of(side.row) for side in a_sides))
    else:
        names = [RowName.parse(b)]
    b_sides = _sides(names, *theirs)
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
        if item.tested is None:
            return item
        p_holm, level = next(family)
        return replace(item, p_holm=p_holm, level=level)

    return [replace(pair, items=[with_holm(item) for item in pair.items]) for pair in pairs]


def _sides(names: Sequence[RowName], boards: Sequence[Board], examples: Examples) -> list[Side]:
    """The rows of these names in each board that has one; an error where none has."""
    sides = [Side(*pair, examples) for name in names for pair in find_in(name, boards)]
    if not sides:
        wanted = ", ".join(name.text for name in names)
        lines = [f"{examples.folder}: No results of {wanted}. There is:"]
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
        agree = [ours == theirs for _, ours, theirs in _places(one, other)]
        grounds = other.board.grounds
        same = sum(grounds.get(task) == ground for task, ground in one.board.grounds.items())
        return *agree, same

    suite = [other for other in others if other.board.suite == one.board.suite]
    return max(suite, key=likeness, default=None)


def _places(a: Side, b: Side) -> list[tuple[str, object, object]]:
    """What must be the same of both sides, by the name a reader knows it by."""
    weights = [str(side.row.facts["backbone_hash"])[:8] for side in (a, b)]
    return [
        *((name, getattr(a.board, name), getattr(b.board, name)) for name in PLACE),
        ("weights of the backbone", weights[0], weights[1]),
    ]


def _pair(a: Side | None, b: Side | None, labels: Sequence[str]) -> Pair:
    boards = [side.board for side in (a, b) if side]
    mains = {task: task for board in boards for task in board.mains}
    mains |= {task: name for board in boards for task, name in board.mains.items() if name != task}
    items = [Item(*name) for name in mains.items()]
    average = [Item(AVERAGE, AVERAGE)] if len(mains) > 1 else []

    def refused(reason: str) -> list[Item]:
        return [replace(item, reason=reason) for item in (*items, *average)]

    if a is None or b is None:
        who = f"A ({labels[0]})" if a is None else f"B ({labels[1]})"
        reason = f"{who} has no runs of {boards[0].suite}"
        return Pair(a, b, refused(reason), reason)
    reasons = [
        f"{name}: {'none' if ours is None else ours} against {'none' if theirs is None else theirs}"
        for name, ours, theirs in _places(a, b)
        if ours != theirs
    ]
    if reasons:
        return Pair(a, b, refused("; ".join(reasons)))
    items = [_tested(a, b, item, [item], _obstacle(a, b, item)) for item in items]
    missing = ", ".join(item.task for item in items if item.tested is None)
    reason = f"{missing} cannot be compared" if missing else ""
    return Pair(a, b, [*items, *(_tested(a, b, item, items, reason) for item in average)])


def _obstacle(a: Side, b: Side, item: Item) -> str:
    """Why the two have nothing in common on a task, if so."""
    sides = (("A", a), ("B", b))
    missing = [name for name, side in sides if not side.has(side.board.mains.get(item.task, ""))]
    if missing:
        return f"{' and '.join(missing)} {'have' if len(missing) > 1 else 'has'} no result"
    ours, theirs = a.board.grounds[item.task], b.board.grounds[item.task]
    if ours.metric != theirs.metric:
        return f"metric {ours.metric} against {theirs.metric}"
    if ours.data_fingerprint != theirs.data_fingerprint:
        return f"data {ours.data_fingerprint[:8]} against {theirs.data_fingerprint[:8]}"
    if ours.n_examples != theirs.n_examples:
        return f"{ours.n_examples:,} examples against {theirs.n_examples:,}"
    return ""


def _tested(a: Side, b: Side, item: Item, items: Sequence[Item], reason: str) -> Item:
    """The item with both values and the test of their difference, over these items' tasks."""
    if reason:
        return replace(item, reason=reason)
    metrics = {part.task: part.metric for part in items}
    sides: list[Side] = []
    for name, side in (("A", a), ("B", b)):
        seeds = sorted(set.intersection(*(side.seeds(metric) for metric in metrics.values())))
        if not seeds:
            return replace(item, reason=f"no seed of {name} has all tasks")
        row = replace(side.row, runs={seed: side.row.runs[seed] for seed in seeds})
        sides.append(side._replace(row=row))
    try:
        ours, theirs = (side.examples.row_scores(side.row, list(metrics)) for side in sides)
        for task in metrics:
            firsts = []
            for side in sides:
                seed, key = next(iter(side.row.runs.items()))
                firsts.append((side.row.label, seed, side.examples.scores(key, task).ids))
            refuse_other_examples(task, firsts[1], firsts[0])
        for name, side in zip("AB", sides, strict=True):
            _check_recorded(name, side, metrics)
    except DataError as error:
        return replace(item, reason=printable(str(error)))
    return replace(
        item,
        a=100 * ours.mean,
        b=100 * theirs.mean,
        seeds_a=tuple(sides[0].row.runs),
        seeds_b=tuple(sides[1].row.runs),
        tested=test_difference(ours, theirs),
    )


def _check_recorded(name: str, side: Side, metrics: dict[str, str]) -> None:
    """Refuse predictions that do not give the values which the report prints."""
    for task, metric in metrics.items():
        for seed, key in side.row.runs.items():
            given = 100 * float(side.examples.scores(key, task).values.mean())
            recorded = side.value(metric, seed) or 0.0
            if abs(given - recorded) > ROUNDING * max(1.0, abs(recorded)):
                raise DataError(
                    f"{name}'s predictions of run {key} give {number(given)} for "
                    f"{metric}, its result says {number(recorded)}"
                )
