"""A comparison as tables and JSON.

Both take the pairs, the gate where there is one, and the reason where nothing can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from vlbench.leaderboard import tables
from vlbench.leaderboard.board import AVERAGE
from vlbench.leaderboard.compare import Gate, Item, Pair, count_compared, gate_notes
from vlbench.leaderboard.normalised import NORMALISED
from vlbench.leaderboard.statistics import LEVEL
from vlbench.leaderboard.tables import NONE, Cell, Column, Table, number, signed, title
from vlbench.text import printable_json, printable_lines

MEANS = (AVERAGE, NORMALISED)
MINUS_B = "A\N{NO-BREAK SPACE}\N{MINUS SIGN}\N{NO-BREAK SPACE}B"
COLUMNS = [
    *(Column("task"), Column("A", "%"), Column("B", "%"), Column(MINUS_B, "points")),
    *(Column("interval", "points"), Column("p", "Holm"), Column("examples", "x seeds")),
    Column("verdict"),
]


def compare_tables(
    pairs: Sequence[Pair], gate: Gate | None = None, reason: str = ""
) -> list[Table]:
    """Make a table per pair, or one of the reason; the last one ends with the gate's outcome."""
    tests = count_compared(pairs)
    nothing = Table("Nothing was compared", COLUMNS[:1], [], [printable_lines(reason)])
    sheets = [nothing] if reason else []
    for pair in pairs:
        means = [_row(item) for item in pair.items if item["task"] in MEANS]
        sections = [[_row(item) for item in pair.items if item["task"] not in MEANS], means]
        heading = f"{_versus(pair)}: {title(pair.board)}"
        notes = list(_notes(pair, tests))
        sheets.append(Table(heading, COLUMNS, list(filter(None, sections)), notes))
    if gate and sheets:
        sheets[-1] = replace(sheets[-1], notes=[*sheets[-1].notes, *gate_notes(gate)])
    return sheets


def compare_json(pairs: Sequence[Pair], gate: Gate | None, reason: str = "") -> str:
    """Write items, the gate's outcome (null without one), and the notes of each pair as JSON.

    Numbers are unrounded. The reason says why there are no items, and is null where there are.
    """
    document = {
        "schema": "vlbench.compare/3",
        "items": [item for pair in pairs for item in pair.items],
        "gate": gate,
        "level": LEVEL,
        "reason": reason or None,
        "places": [{"title": t.title, "notes": list(t.notes)} for t in compare_tables(pairs)],
    }
    return printable_json(document) + "\n"


def _versus(pair: Pair) -> str:
    """Who is A and who is B; two folders tell rows of the same name apart."""
    sides = {name: side for name, side in (("A", pair.a), ("B", pair.b)) if side}
    labels = {name: side.row.label for name, side in sides.items()}
    if len(set(labels.values())) < len(labels):
        labels["B"] = sides["B"].name
    texts = [f"{label} ({name})" for name, label in labels.items()]
    return " against ".join(texts) if len(texts) > 1 else f"{texts[0]} alone"


def _n_seeds(item: Item) -> list[int]:
    return [*dict.fromkeys(len(item[side]["runs"]) for side in "ab")]


def _row(item: Item) -> list[Cell]:
    metric = tables.short_metric(item["metric"], item["task"])
    texts = [NONE] * (len(COLUMNS) - 2)
    if not item["reason"]:
        texts = [number(item["a"]["value"]), number(item["b"]["value"]), signed(item["difference"])]
        p = item["p_holm"]
        texts += [f"{signed(item['low'])} to {signed(item['high'])}"]
        texts += ["<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"]
        texts += [f"{item['n_examples']:,} x {' and '.join(map(str, _n_seeds(item)))}"]
    name = Cell(item["task"], f" {metric}" if metric else "")
    within = item["verdict"] in ("matches", "not worse")
    span = f" ({signed(item['low_90'])} to {signed(item['high_90'])})" if within else ""
    return [name, *map(Cell, [*texts, item["verdict"] + span])]


def _notes(pair: Pair, tests: int) -> Iterator[str]:
    """What was not comparable and why, the test, and what the numbers stand on."""
    tested = [item for item in pair.items if not item["reason"]]
    for reason in dict.fromkeys(item["reason"] for item in pair.items if item["reason"]):
        tasks = ", ".join(item["task"] for item in pair.items if item["reason"] == reason)
        yield f"{tasks}: not comparable: {reason}."
    if tested:
        yield "Percent (CIDEr x 100); mean over seeds."
        names = " or ".join(dict.fromkeys(item["test"] for item in tested))
        yield (
            f"Test: {names}; two-sided; p is Holm-adjusted over the {tests} tests of this "
            f"comparison, and a difference is shown below {LEVEL:g}, where the simultaneous 95 % "
            "interval leaves out 0."
        )
        margins = {item["task"]: item["margin"] for item in tested if item["margin"]}
        if margins:
            texts = ", ".join(f"{task} {number(points)}" for task, points in margins.items())
            yield (
                "Matches: the 90 % interval lies within the margin; not worse: above minus the "
                f"margin. Margins in points: {texts}."
            )
        for item in tested:
            if item["normalised_by"]:
                yield f"Normalised by {item['normalised_by']}: what scores 100."
        if any(1 in _n_seeds(item) for item in tested):
            yield "One seed: what is shown is about these trained weights, not about other seeds."
    for name, side in (("A", pair.a), ("B", pair.b)):
        if side:
            runs = [run for run in side.board.runs if run.key in side.row.runs.values()]
            code = tables.counted(run.facts["code_version"] for run in runs)
            seeds = ", ".join(map(str, side.row.seeds)) or "none"
            yield f"{name}: {side.name}, seeds {seeds}, code {code}."
            notes = [note for note in side.board.notes if note.startswith(f"{side.row.label}, ")]
            yield from (f"{name}: {note}" for note in notes)
    if tested:
        yield tables.data_note(pair.board, False, [item["task"] for item in tested])
    if pair.a and pair.b:
        a, b = pair.a.row.facts, pair.b.row.facts
        is_same = (a["method"], a["settings"]) == (b["method"], b["settings"])
        if is_same and a["card_hash"] != b["card_hash"]:
            yield "The cards of A and B differ: the method or a task has changed in between."
