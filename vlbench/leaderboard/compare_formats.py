"""A comparison in each of its formats: table, Markdown, JSON, GitHub's commands, JUnit's XML.

Each takes the pairs, the gate where there is one, and the reason where there is nothing to compare.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from vlbench.errors import MissingError
from vlbench.leaderboard.board import AVERAGE
from vlbench.leaderboard.compare import Gate, Item, Pair, Side, count_compared
from vlbench.leaderboard.formats import as_markdown, as_text, escape
from vlbench.leaderboard.statistics import LEVEL
from vlbench.leaderboard.tables import (
    NONE,
    Cell,
    Column,
    Table,
    counted,
    data_note,
    joined,
    number,
    short_metric,
    signed,
    title,
)
from vlbench.text import is_unicode, printable_json, printable_lines

SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable that names the file of the job's summary."""
MOST = 10
"""GitHub's runner shows so many annotations of a kind; the summary has all."""
SETUP = ("backbone", "suite", "edition", "scope", "limit")
MINUS_B = "A\N{NO-BREAK SPACE}\N{MINUS SIGN}\N{NO-BREAK SPACE}B"
COLUMNS = [
    *(Column("task"), Column("A", "%"), Column("B", "%"), Column(MINUS_B, "points")),
    *(Column("interval", "points"), Column("p", "Holm"), Column("examples", "x seeds")),
    Column("verdict"),
]
ONE_SEED = "One seed: what is shown is about these trained weights, not about other seeds."


def compare_tables(pairs: Sequence[Pair], gate: Gate | None = None) -> list[Table]:
    """Make a table per place; the last one ends with the gate's outcome. None of no pairs."""
    tests = count_compared(pairs)
    tables = []
    for pair in pairs:
        rows = [
            [_row(i) for i in pair.items if (i.task == AVERAGE) is last] for last in (False, True)
        ]
        heading = f"{_versus(pair)}: {title(pair.board)}"
        tables.append(Table(heading, COLUMNS, list(filter(None, rows)), list(_notes(pair, tests))))
    if gate and tables:
        tables[-1] = replace(tables[-1], notes=[*tables[-1].notes, *gate.notes])
    return tables


def compare_text(pairs: Sequence[Pair], gate: Gate | None, reason: str = "") -> str:
    """Write the tables as plain text, or the reason why there are none."""
    return as_text(compare_tables(pairs, gate)) or f"{printable_lines(reason)}\n"


def compare_markdown(pairs: Sequence[Pair], gate: Gate | None, reason: str = "") -> str:
    """Write the tables as Markdown, or the reason why there are none."""
    lines = printable_lines(reason).splitlines()
    return as_markdown(compare_tables(pairs, gate)) or "".join(f"{escape(t)}\n" for t in lines)


def compare_json(pairs: Sequence[Pair], gate: Gate | None, reason: str = "") -> str:
    """Write items, the gate's outcome (null without one), and the notes of each place as JSON.

    Numbers are unrounded. The reason says why there are no items, and is null where there are.
    """
    outcome = gate and {
        **{name: getattr(gate, name) for name in ("max_drop", "is_passed", "compared")},
        "faults": [
            {**_named(pair, item), "kind": kind, "text": text}
            for pair, item, kind, text in gate.faults
        ],
    }
    document = {
        "schema": "vlbench.compare/2",
        "items": [_item(pair, item) for pair in pairs for item in pair.items],
        "gate": outcome,
        "level": LEVEL,
        "reason": reason or None,
        "places": [{"title": t.title, "notes": list(t.notes)} for t in compare_tables(pairs)],
    }
    return printable_json(document) + "\n"


def workflow_commands(pairs: Sequence[Pair], gate: Gate | None, reason: str = "") -> str:
    """Write GitHub's commands: errors for faults, warnings for what cannot be compared, notices.

    Where there is nothing to compare, the reason is an error. Commands are escaped as the runner
    unescapes them (the functions of its toolkit): names of methods and paths come from outside,
    and a line of their own could be a command of their own.
    """
    faults = gate.faults if gate else ()
    refused = {id(fault.item) for fault in faults}
    commands = [("error", "nothing compared", printable_lines(reason))] if reason else []
    commands += [
        ("error", f"{item.task} {kind}", f"{in_words(item)} [{title(pair.board)}]")
        for pair, item, kind, _ in faults[:MOST]
    ]
    commands += [
        ("warning", f"{item.task} not comparable", f"{in_words(item)} [{title(pair.board)}]")
        for pair in pairs
        for item in pair.items
        if item.tested is None and id(item) not in refused
    ]
    commands += [
        ("notice", title(pair.board), "\n".join(map(in_words, pair.items)))
        for pair in pairs
        if count_compared([pair])
    ]
    if gate:
        commands.append(("notice" if gate.is_passed else "error", "gate", "\n".join(gate.notes)))
    return "".join(
        f"::{kind} title=vlbench%3A {_data(name).replace(':', '%3A').replace(',', '%2C')}::"
        f"{_data(text)}\n"
        for kind, name, text in commands
    )


def append_summary(file: Path, pairs: Sequence[Pair], gate: Gate | None, reason: str = "") -> None:
    """Add the tables to the job's summary, or the reason why there are none."""
    try:
        with file.open("a", encoding="utf-8", newline="\n") as summary:
            summary.write(f"{compare_markdown(pairs, gate, reason)}\n")
    except OSError as error:
        raise MissingError(f"{SUMMARY}={file}: cannot be written: {error.strerror}.") from None


def as_junit(pairs: Sequence[Pair], gate: Gate | None, reason: str = "") -> str:
    """Write JUnit's XML, which most CI servers show: a suite per place, a case per task.

    What the gate refuses is a failure; what else could not be compared is skipped. Where nothing
    was compared, which ends the command with 4, that is an error, with the reason.
    """
    faults = {id(fault.item): fault for fault in (gate.faults if gate else ())}
    root = Element("testsuites", name="vlbench compare")
    for pair, table in zip(pairs, compare_tables(pairs), strict=True):
        suite = SubElement(root, "testsuite", name=table.title)
        board = pair.board
        group = f"vlbench.{board.suite}.{board.backbone}.{board.edition}.{board.scope}"
        for item in pair.items:
            case = _case(suite, group, item.metric)
            if fault := faults.get(id(item)):
                failure = SubElement(case, "failure", message=fault.text, type=fault.kind)
                failure.text = in_words(item)
            elif item.tested is None:
                SubElement(case, "skipped", message=in_words(item))
            else:
                SubElement(case, "system-out").text = in_words(item)
        _count(suite, "skipped")
        SubElement(suite, "system-out").text = "\n".join(table.notes)
    if not count_compared(pairs):
        reason = reason or "Nothing could be compared; each case says why."
        suite = SubElement(root, "testsuite", name="comparison")
        case = _case(suite, "vlbench", "comparison")
        error = SubElement(case, "error", message=reason.splitlines()[0], type="nothing")
        error.text = reason
        _count(suite, "skipped")
    _count(root)  # where the schema of Jenkins knows of none skipped
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode", xml_declaration=True)
    text = printable_lines(text) + "\n"  # what is hidden may stand in no XML, escaped or not
    return text if is_unicode() else text.encode("ascii", "xmlcharrefreplace").decode()


def in_words(item: Item) -> str:
    """Write one line of the comparison as a sentence."""
    name = f"{item.task} {short_metric(item.metric, item.task)}".strip()
    if item.tested is None:
        return f"{name} not comparable: {item.reason}"
    tested = item.tested
    sure = f"simultaneous 95 % interval {_interval(item)}, p {p_value(item.p_holm)}"
    seeds = f"{_seeds(tested.n_seeds)} seed{'s' * (tested.n_seeds != (1, 1))}"
    return (
        f"{name} {number(item.a)} against {number(item.b)}, {signed(tested.difference)} points "
        f"({sure}, {tested.n_examples:,} examples x {seeds}): {item.verdict}"
    )


def p_value(p: float | None) -> str:
    """Format a p with as many digits as matter."""
    if p is None:
        return NONE
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _seeds(n_seeds: tuple[int, int]) -> str:
    """The seeds of A and B: `3`, or `3 and 5`."""
    return " and ".join(str(n) for n in dict.fromkeys(n_seeds))


def _interval(item: Item) -> str:
    return " to ".join(map(signed, item.interval or ()))


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
    metric, tested = short_metric(item.metric, item.task), item.tested
    texts = [NONE] * (len(COLUMNS) - 2)
    if tested:
        texts = [number(item.a), number(item.b), signed(tested.difference), _interval(item)]
        texts += [p_value(item.p_holm), f"{tested.n_examples:,} x {_seeds(tested.n_seeds)}"]
    name = Cell(item.task, f" {metric}" if metric else "")
    return [name, *map(Cell, [*texts, item.verdict])]


def _notes(pair: Pair, tests: int) -> Iterator[str]:
    """What was not comparable and why, the test, and what the numbers stand on."""
    a, b = pair.a, pair.b
    names: dict[str, list[str]] = {}
    for item in pair.items:
        if item.tested:
            names.setdefault(item.tested.name, []).append(item.task)
        elif not pair.missing:
            yield f"{item.task}: not comparable: {item.reason}."
    if pair.missing:
        yield f"Not comparable: {pair.missing}."
    if names:
        used = [f"{name} ({', '.join(tasks)})" for name, tasks in names.items()]
        yield "Percent (CIDEr x 100); mean over seeds."
        yield (
            f"Test: {'; '.join(used if len(used) > 1 else names)}; two-sided; p is Holm-adjusted "
            f"over the {tests} tests of this comparison, and a difference is shown below {LEVEL:g},"
            " where the simultaneous 95 % interval leaves out 0."
        )
        if any(item.tested and 1 in item.tested.n_seeds for item in pair.items):
            yield ONE_SEED
    for name, side in (("A", a), ("B", b)):
        if side:
            label, seeds = side.row.label, joined(side.row.seeds)
            runs = [run for run in side.board.runs if run.key in side.row.runs.values()]
            code = counted(run.facts["code_version"] for run in runs)
            yield f"{name}: {label} of {side.folder}, seeds {seeds}, code {code}."
            notes = [note for note in side.board.notes if note.startswith(f"{label}, ")]
            yield from (f"{name}: {note}" for note in notes)
    if names:
        tasks = [item.task for item in pair.items if item.tested]
        yield data_note(pair.board, has_counts=False, tasks=tasks)
    same = a and b and (a.row.method, a.row.settings) == (b.row.method, b.row.settings)
    if a and b and same and a.row.facts["card_hash"] != b.row.facts["card_hash"]:
        yield "The cards of A and B differ: the method or a task has changed in between."


def _item(pair: Pair, item: Item) -> dict[str, Any]:
    tested, (low, high) = item.tested, item.interval or (None, None)
    return {
        **_named(pair, item),
        "verdict": item.verdict,
        "reason": item.reason or None,
        "difference": tested and tested.difference,
        "low": low,
        "high": high,
        "level": item.level if tested else None,
        "p": tested and tested.p,
        "p_holm": item.p_holm,
        "n_examples": tested and tested.n_examples,
        "test": tested and tested.name,
        "a": _side(pair.a, item, item.a, item.seeds_a),
        "b": _side(pair.b, item, item.b, item.seeds_b),
    }


def _named(pair: Pair, item: Item) -> dict[str, Any]:
    setup = {name: getattr(pair.board, name) for name in SETUP}
    return {**setup, "task": item.task, "metric": item.metric}


def _side(
    side: Side | None, item: Item, value: float | None, seeds: Sequence[int]
) -> dict[str, Any] | None:
    """Who it was, its mean over seeds, and what that stands on."""
    if side is None:
        return None
    row, ground = side.row, side.board.grounds.get(item.task)
    return {
        **{name: getattr(row, name) for name in ("method", "settings", "init")},
        "card_hash": row.facts["card_hash"],
        "results": str(side.examples.folder),
        "value": value,
        "runs": {str(seed): row.runs[seed] for seed in seeds or row.seeds},
        "data_fingerprint": ground and ground.data_fingerprint,
    }


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _case(suite: Element, group: str, name: str) -> Element:
    return SubElement(suite, "testcase", classname=group, name=name, time="0")


def _count(element: Element, *others: str) -> None:
    """Set the numbers of cases, failures and the like, which readers sum up by."""
    names = {"tests": "testcase", "failures": "failure", "errors": "error"}
    for name, tag in (names | {other: other for other in others}).items():
        element.set(name, str(sum(1 for _ in element.iter(tag))))
    element.set("time", "0")
