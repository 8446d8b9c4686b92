"""A comparison as a table: both values, difference, interval, p, and the verdict in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from vlbench.leaderboard.compared import Item, Pair, Side
from vlbench.leaderboard.marks import AVERAGE
from vlbench.leaderboard.notes import counted
from vlbench.leaderboard.numbers import NONE, number, short_metric, signed
from vlbench.leaderboard.sheets import Cell, Heading, Sheet, title
from vlbench.leaderboard.statistics import LEVEL
from vlbench.leaderboard.summary import Board

HEADINGS = (
    Heading("task"),
    Heading("A", "%"),
    Heading("B", "%"),
    Heading("A\N{NO-BREAK SPACE}\N{MINUS SIGN}\N{NO-BREAK SPACE}B", "points"),
    Heading("interval", "points"),
    Heading("p", "Holm"),
    Heading("examples", "x seeds"),
    Heading("verdict"),
)

ONE_SEED = "One seed: what is shown is about these trained weights, not about other seeds."


def compare_sheets(pairs: Sequence[Pair], outcome: Sequence[str] = ()) -> list[Sheet]:
    """A table per place; the gate's outcome stands at the end of the last. None of no pairs."""
    tests = sum(item.tested is not None for pair in pairs for item in pair.items)
    sheets = [_sheet(pair, tests) for pair in pairs]
    last = [replace(sheet, notes=[*sheet.notes, *outcome]) for sheet in sheets[-1:]]
    return [*sheets[:-1], *last]


def place(pair: Pair) -> str:
    """Where the two were compared."""
    return title(pair.board)


def points(value: float, format: str = "g") -> str:
    """A number of points, as it was typed or in another format."""
    return f"{value:{format}} point{'' if value == 1 else 's'}"


def in_words(item: Item) -> str:
    """One line of the comparison as a sentence."""
    name = f"{item.task} {short_metric(item.metric, item.task)}".strip()
    if item.tested is None:
        return f"{name} not comparable: {item.reason}"
    tested = item.tested
    sure = f"simultaneous 95 % interval {_interval(item)}, p {p_value(item.p_holm)}"
    counts = f"{tested.n_examples:,} examples x {counted_seeds(tested.n_seeds)}"
    return (
        f"{name} {number(item.a)} against {number(item.b)}, {signed(tested.difference)} points "
        f"({sure}, {counts}): {item.verdict}"
    )


def counted_seeds(n_seeds: tuple[int, int]) -> str:
    """`1 seed`, `3 seeds`, `3 and 5 seeds`: of A and B."""
    numbers = " and ".join(str(n) for n in dict.fromkeys(n_seeds))
    return f"{numbers} seed{'s' * (n_seeds != (1, 1))}"


def p_value(p: float | None) -> str:
    """A p with as many digits as matter."""
    if p is None:
        return NONE
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _sheet(pair: Pair, tests: int) -> Sheet:
    sections = [
        [_row(item) for item in pair.items if (item.task == AVERAGE) is average]
        for average in (False, True)
    ]
    heading = f"{_versus(pair)}: {place(pair)}"
    return Sheet(heading, HEADINGS, [rows for rows in sections if rows], list(_notes(pair, tests)))


def _versus(pair: Pair) -> str:
    """Who is A and who is B; two folders tell rows of the same name apart."""
    sides = [side for side in (pair.a, pair.b) if side]
    labels = [side.row.label for side in sides]
    if pair.missing:
        return f"{labels[0]} ({'B' if pair.a is None else 'A'}) alone"
    if labels[0] == labels[1]:
        labels[1] += f" of {sides[1].folder}"
    return f"{labels[0]} (A) against {labels[1]} (B)"


def _row(item: Item) -> list[Cell]:
    metric = short_metric(item.metric, item.task)
    name = Cell(item.task, f" {metric}" if metric else "")
    tested = item.tested
    if tested is None:
        return [name, *[Cell(NONE)] * (len(HEADINGS) - 2), Cell(item.verdict)]
    return [
        name,
        Cell(number(item.a)),
        Cell(number(item.b)),
        Cell(signed(tested.difference)),
        Cell(_interval(item)),
        Cell(p_value(item.p_holm)),
        Cell(f"{tested.n_examples:,} x {counted_seeds(tested.n_seeds).partition(' seed')[0]}"),
        Cell(item.verdict),
    ]


def _interval(item: Item) -> str:
    assert item.interval is not None
    return " to ".join(map(signed, item.interval))


def _notes(pair: Pair, tests: int) -> Iterator[str]:
    """What was not comparable and why, the test, and what the numbers stand on."""
    refused = [] if pair.missing else [item for item in pair.items if item.tested is None]
    yield from (f"{item.task}: not comparable: {item.reason}." for item in refused)
    yield from [f"Not comparable: {pair.missing}."] if pair.missing else []
    compared = [item for item in pair.items if item.tested]
    if compared:
        yield "Percent (CIDEr x 100); mean over seeds."
        yield _test_note(compared, tests)
        if any(item.tested and 1 in item.tested.n_seeds for item in compared):
            yield ONE_SEED
    yield from _side_notes("A", pair.a)
    yield from _side_notes("B", pair.b)
    if compared:
        yield _data(pair.board, compared)
    if pair.a and pair.b and pair.a.row.facts["card_hash"] != pair.b.row.facts["card_hash"]:
        same = pair.a.row.method == pair.b.row.method and pair.a.row.settings == pair.b.row.settings
        if same:
            yield "The cards of A and B differ: the method or a task has changed in between."


def _test_note(compared: Sequence[Item], tests: int) -> str:
    names: dict[str, list[str]] = {}
    for item in compared:
        if item.tested:
            names.setdefault(item.tested.name, []).append(item.task)
    used = "; ".join(
        test if len(names) == 1 else f"{test} ({', '.join(tasks)})" for test, tasks in names.items()
    )
    return (
        f"Test: {used}; two-sided; p is Holm-adjusted over the {tests} tests of this comparison, "
        f"and a difference is shown below {LEVEL:g}, where the simultaneous 95 % interval leaves "
        "out 0."
    )


def _side_notes(name: str, side: Side | None) -> Iterator[str]:
    if side is None:
        return
    runs = [run for run in side.board.runs if run.key in side.row.runs.values()]
    seeds = _listed(side.row.seeds)
    code = counted(run.facts["code_version"] for run in runs)
    yield f"{name}: {side.row.label} of {side.folder}, seeds {seeds}, code {code}."
    begin = f"{side.row.label}, "
    yield from (f"{name}: {note}" for note in side.board.notes if note.startswith(begin))


def _data(board: Board, compared: Sequence[Item]) -> str:
    data = ", ".join(
        f"{item.task} {board.grounds[item.task].data_fingerprint[:8]}"
        for item in compared
        if item.task != AVERAGE
    )
    return f"Data: {board.edition} edition, {board.scope}: {data}."


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds)) or "none"
