"""Two rows held against each other, task by task and on average: by how much they differ, how sure.

A and B may come from two folders of results. They are compared where suite, edition, backbone and
its weights, scope, limit and a task's data are the same; anything else is told as not comparable,
with the reason. All tests of one comparison are a family, for Holm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from vlbench.errors import DataError
from vlbench.leaderboard.compared import Item, Pair, Side
from vlbench.leaderboard.examples import refuse_other_examples
from vlbench.leaderboard.marks import AVERAGE
from vlbench.leaderboard.numbers import number
from vlbench.leaderboard.statistics import holm, holm_levels, test_difference
from vlbench.leaderboard.summary import Row
from vlbench.text import printable

PLACE = ("suite", "edition", "backbone", "scope", "limit")
"""What of a board must be the same, in the order of what says most about where one looked."""
ROUNDING = 1e-6
"""How far, relatively, a recorded value may be from what its predictions give."""


def compare(a_sides: Sequence[Side], b_sides: Sequence[Side]) -> list[Pair]:
    """The comparisons of A and B wherever one of them is."""
    labels = [_label(a_sides, b_sides), _label(b_sides, a_sides)]
    pairs = [_pair(a, b, labels) for a, b in _matched(a_sides, b_sides)]
    p = [item.tested.p for pair in pairs for item in pair.items if item.tested]
    family = iter(zip(holm(p), holm_levels(p), strict=True))

    def with_holm(item: Item) -> Item:
        if item.tested is None:
            return item
        p_holm, level = next(family)
        return replace(item, p_holm=p_holm, level=level)

    return [replace(pair, items=[with_holm(item) for item in pair.items]) for pair in pairs]


def _label(sides: Sequence[Side], others: Sequence[Side]) -> str:
    """What a side is called where it has no row; several rows of it are those of the other."""
    labels = {side.row.label for side in sides}
    label = sides[0].row.label if len(labels) == 1 else others[0].row.label
    is_other = all(label != side.row.label for side in others)
    return label if is_other else f"{label} of {sides[0].folder}"


def _matched(
    a_sides: Sequence[Side], b_sides: Sequence[Side]
) -> list[tuple[Side | None, Side | None]]:
    """Each of B with what of A is likest, then what is left of A with the likest of B."""
    pairs: list[tuple[Side | None, Side | None]] = [(_likest(b, a_sides), b) for b in b_sides]
    taken = [a for a, _ in pairs]
    pairs += [(a, _likest(a, b_sides)) for a in a_sides if not any(a is each for each in taken)]
    return pairs


def _likest(one: Side, others: Iterable[Side]) -> Side | None:
    """The side that agrees most; None where no other is of this suite."""

    def likeness(other: Side) -> tuple[bool | int, ...]:
        agree = [fact == there for (_, fact), (_, there) in zip(*_places(one, other), strict=True)]
        grounds = other.board.grounds
        return *agree, sum(grounds.get(task) == each for task, each in one.board.grounds.items())

    suite = [other for other in others if other.board.suite == one.board.suite]
    return max(suite, key=likeness, default=None)


def _places(*sides: Side) -> list[list[tuple[str, object]]]:
    """What must be the same of each side, by the name a reader knows it by."""
    return [
        [
            *((name, getattr(side.board, name)) for name in PLACE),
            ("weights of the backbone", str(side.row.facts["backbone_hash"])[:8]),
        ]
        for side in sides
    ]


def _pair(a: Side | None, b: Side | None, labels: Sequence[str]) -> Pair:
    mains = _mains(a, b)
    names = [*mains.items(), *([(AVERAGE, AVERAGE)] if len(mains) > 1 else [])]
    side = a or b
    if side and (a is None or b is None):
        who = f"A ({labels[0]})" if a is None else f"B ({labels[1]})"
        reason = f"{who} has no runs of {side.board.suite}"
        return Pair(a, b, [Item(*name, reason=reason) for name in names], reason)
    assert a and b
    reasons = [
        f"{name}: {'none' if here is None else here} against {'none' if there is None else there}"
        for (name, here), (_, there) in zip(*_places(a, b), strict=True)
        if here != there
    ]
    if reasons:
        return Pair(a, b, [Item(*name, reason="; ".join(reasons)) for name in names])
    items = [_task(a, b, Item(*name)) for name in mains.items()]
    items += [_average(a, b, items)] if len(items) > 1 else []
    return Pair(a, b, items)


def _mains(*sides: Side | None) -> dict[str, str]:
    """The main metric of each task; a board without results of a task only knows its name."""
    boards = [side.board for side in sides if side]
    mains = {task: task for board in boards for task in board.mains}
    known = {task: name for board in boards for task, name in board.mains.items() if name != task}
    return mains | known


def _task(a: Side, b: Side, item: Item) -> Item:
    reason = _obstacle(a, b, item)
    if reason:
        return replace(item, reason=reason)
    return _tested(a, b, item, {item.task: item.metric})


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


def _average(a: Side, b: Side, items: Sequence[Item]) -> Item:
    """The average, where all of its tasks can be compared."""
    average = Item(AVERAGE, AVERAGE)
    missing = [item.task for item in items if item.tested is None]
    if missing:
        return replace(average, reason=f"{', '.join(missing)} cannot be compared")
    return _tested(a, b, average, {item.task: item.metric for item in items})


def _tested(a: Side, b: Side, item: Item, metrics: dict[str, str]) -> Item:
    """The item with both values and the test of their difference."""
    rows = []
    for name, side in (("A", a), ("B", b)):
        seeds = sorted(set.intersection(*(side.seeds(metric) for metric in metrics.values())))
        if not seeds:
            return replace(item, reason=f"no seed of {name} has all tasks")
        rows.append(replace(side.row, runs={seed: side.row.runs[seed] for seed in seeds}))
    try:
        ours, theirs = (
            side.examples.row_scores(row, list(metrics))
            for side, row in zip((a, b), rows, strict=True)
        )
        for task in metrics:
            tested = [
                (row.label, seed, side.examples.scores(key, task).ids)
                for side, row in zip((a, b), rows, strict=True)
                for seed, key in list(row.runs.items())[:1]
            ]
            refuse_other_examples(task, tested[1], tested[0])
        for name, side, row in zip("AB", (a, b), rows, strict=True):
            _check_recorded(name, side, row, metrics)
    except DataError as error:
        return replace(item, reason=printable(str(error)))
    return replace(
        item,
        a=100 * ours.mean,
        b=100 * theirs.mean,
        seeds_a=tuple(rows[0].runs),
        seeds_b=tuple(rows[1].runs),
        tested=test_difference(ours, theirs),
    )


def _check_recorded(name: str, side: Side, row: Row, metrics: dict[str, str]) -> None:
    """Refuse predictions that do not give the values which the report prints."""
    for task, metric in metrics.items():
        for seed, key in row.runs.items():
            given = 100 * float(side.examples.scores(key, task).values.mean())
            recorded = side.value(metric, seed) or 0.0
            if abs(given - recorded) > ROUNDING * max(1.0, abs(recorded)):
                raise DataError(
                    f"{name}'s predictions of run {key} give {number(given)} for "
                    f"{metric}, its result says {number(recorded)}"
                )
