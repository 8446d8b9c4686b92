"""The tables of a board before any format: leaderboard, costs, question families, papers' rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import NamedTuple

from vlbench.leaderboard.board import AVERAGE, BELOW, BEST, FLOORS, Board, Row, is_best
from vlbench.leaderboard.paper import PaperPart, Papers

NONE, MINUS = "—", "\N{MINUS SIGN}"
"""What stands where there is no number, and before a negative one."""
AVERAGE_NOTE = "Average: plain mean of the tasks, per seed, only where all of them are there."
BEST_NOTE = (
    f"Bold, or {BEST}: the best of a column and what ties with it by test, where its mean is more "
    "than its deviation above the floors."
)
MAJORITY_NOTE = (
    "Majority answer: the most frequent training answer of the question's family, always."
)
BELOW_NOTE = (
    f"{BELOW} marks what is at or below a floor: the majority answer, or the row of "
    f"{' or '.join(FLOORS)}."
)
FAMILY_NOTE = f"Mean over seeds; {BELOW} marks what is at or below the family's majority answer."
DIFFERENCE_NOTE = (
    f"Measured {MINUS} [n]: a difference in points; edition, backbone, suite, metric and test split"
    " are the same."
)


class Column(NamedTuple):
    """The head of a column: its name, and what is measured."""

    name: str
    unit: str = ""


class Cell(NamedTuple):
    """One cell: a number with its deviation apart, so that numbers stand below each other."""

    text: str
    tail: str = ""
    is_below: bool = False
    is_best: bool = False


Line = list[Cell]


@dataclass(frozen=True)
class Table:
    """A table in no format yet: the first column is text, all others are numbers.

    Between its sections, groups of rows, stands a rule; the first is what was measured and ranked.
    Several tables may have the same label, by which a paper refers to them.
    """

    title: str
    columns: Sequence[Column]
    sections: Sequence[Sequence[Line]]
    notes: Sequence[str]
    label: str = "table"


COST_COLUMNS = {
    "adapter_bytes": (Column("adapter", "KB"), 1e-3, 1),
    "peak_memory_bytes": (Column("peak memory", "MB"), 1e-6, 0),
    "train_seconds": (Column("training", "s"), 1.0, 1),
    "examples_per_second": (Column("throughput", "examples/s"), 1.0, 0),
    "evaluate_seconds": (Column("evaluation", "s"), 1.0, 1),
}
"""Column, factor to its unit and digits of each cost."""


def number(value: float | None, scale: float = 1.0, digits: int = 1) -> str:
    """Format a number; a dash where there is none."""
    return NONE if value is None else f"{value * scale:,.{digits}f}"


def percent(value: float | None) -> str:
    """Format a share of parameters: two decimals, or two digits of a small one."""
    if value is None:
        return NONE
    return f"{value:.2f}" if value >= 0.1 or value == 0 else f"{value:.2g}"


def signed(value: float) -> str:
    """Format a difference, with its sign."""
    text = f"{abs(value):,.1f}"
    return ("" if text == "0.0" else "+" if value > 0 else MINUS) + text


def deviation(std: float | None) -> str:
    """Format what stands behind a mean; a single value has no deviation."""
    return "" if std is None else f" ±{std:.1f}"


def short_metric(metric: str, task: str) -> str:
    """Shorten `vqav2.accuracy` to `accuracy`; empty where the metric is not known."""
    return "" if metric == task else metric.removeprefix(f"{task}.")


def joined(values: Iterable[object]) -> str:
    """List values, or say that there are none."""
    return ", ".join(map(str, values)) or "none"


def counted(values: Iterable[object]) -> str:
    """Return the only value, or each with the number of runs that have it."""
    counts = Counter(map(str, values))
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{text} ({n} run{'s' * (n > 1)})" for text, n in sorted(counts.items()))


def title(board: Board) -> str:
    """Suite, backbone, edition and split, what cut the data, and what tells boards apart."""
    cut = "" if board.limit is None else f": data cut to {board.limit} examples a task"
    scope = "" if board.scope == "complete" else f" ({board.scope}{cut})"
    apart = f" ({board.apart})" if board.apart else ""
    what = f"{', '.join(board.mains)} of {board.suite}" if board.is_part else board.suite
    return f"{what} on {board.backbone}, {board.edition} edition, test split{scope}{apart}"


def report_tables(
    boards: Sequence[Board], families: bool = False, costs: bool = False, papers: Papers = ()
) -> list[Table]:
    """Make the tables of a report: a leaderboard per board, and after each what else is wanted."""
    tables: list[Table] = []
    for board, part in zip(boards, papers or repeat(None), strict=False):
        main = main_table(board)
        group = _with_published(main, board, part) if part else [main]
        group += [cost_table(board)] if costs else []
        group += family_tables(board) if families else []
        tables += [table for table in group if table not in tables]  # papers' rows of two boards
    return tables


def main_table(board: Board) -> Table:
    """Make the leaderboard: a row per method, the main metric of each task, the average."""

    def cells(row: Row) -> Line:
        scores = [_score(board, row, metric) for metric in board.columns]
        trainable = Cell(percent(row.facts["trainable_percent"]))
        return [trainable, *scores, Cell(str(len(row.seeds)))]

    tasks = [Column(task, short_metric(metric, task)) for task, metric in board.mains.items()]
    average = [Column(AVERAGE, f"{len(tasks)} tasks")] if len(tasks) > 1 else []
    columns = [Column("method"), Column("trainable", "%"), *tasks, *average, Column("seeds", "n")]
    majority = [NONE, *(number(board.majority.get(metric)) for metric in board.columns), NONE]
    lines = [list(map(Cell, ["majority answer", *majority]))] if has_majority(board) else []
    sections = _sections(board, cells, lines)
    return Table(title(board), columns, sections, board_notes(board), _label(board))


def cost_table(board: Board) -> Table:
    """Make the table of what each method costs: parameters, storage, memory, time."""

    def cells(row: Row) -> Line:
        trainable = number(row.facts["trainable_parameters"], digits=0)
        costs = [
            number(row.costs[name].mean, scale, digits)
            for name, (_, scale, digits) in COST_COLUMNS.items()
        ]
        return list(map(Cell, [trainable, percent(row.facts["trainable_percent"]), *costs]))

    columns = [Column("method"), Column("trainable", "parameters"), Column("trainable", "%")]
    columns += [column for column, _, _ in COST_COLUMNS.values()]
    notes = [
        "Mean over seeds; KB is 1000 bytes, MB 1000 KB. Training is without validation.",
        "Evaluation generates and scores the test split of all tasks shown.",
        f"Device: {counted(run.facts['device'] for run in board.runs if run.is_done)}.",
    ]
    name, label = f"{title(board)}: costs", f"{_label(board)} costs"
    return Table(name, columns, _sections(board, cells), notes, label)


def family_tables(board: Board) -> list[Table]:
    """Make a table per task that has question families; rows are what there is more of."""
    tables = []
    for task, metric in board.mains.items():
        if families := sorted(name for other, name in board.families if other == metric and name):
            columns, sections = _families(board, metric, [*families, ""])
            name = f"{title(board)}: {task} {short_metric(metric, task)} by family"
            label = f"{_label(board)} {task} families"
            tables.append(Table(name, columns, sections, [FAMILY_NOTE], label))
    return tables


def board_notes(board: Board) -> list[str]:
    """Units and seeds, what the marks mean, and the data and code that the numbers come from."""
    done = [run.facts for run in board.runs if run.is_done]
    is_marked = any(is_best(row, metric, board) for row in board.rows for metric in row.ties)
    return [
        seeds_note(board),
        *[AVERAGE_NOTE] * (len(board.mains) > 1),
        *[BEST_NOTE] * is_marked,
        *[MAJORITY_NOTE] * has_majority(board),
        *[BELOW_NOTE] * any(row.below_floor for row in board.rows),
        f"Trainable %: denominator {counted(facts['denominator'] for facts in done)}.",
        *ground_notes(board),
        *board.notes,
    ]


def has_majority(board: Board) -> bool:
    """Whether any task has a most frequent answer."""
    return any(score is not None for score in board.majority.values())


def seeds_note(board: Board) -> str:
    """The unit of the numbers, the seeds they are over, and which rows have others."""
    spread = "mean ± sample standard deviation over seeds" if len(_seeds(board)) > 1 else "seed"
    return f"Percent (CIDEr x 100); {spread} {listed_seeds(board)}."


def listed_seeds(board: Board) -> str:
    """All seeds, then the rows that have others."""
    seeds = _seeds(board)
    fewer = [row for row in board.rows if row.seeds and list(row.seeds) != seeds]
    return "; ".join([joined(seeds), *(f"{row.label}: {joined(row.seeds)}" for row in fewer)])


def ground_notes(board: Board) -> list[str]:
    """Which data and which code."""
    return [data_note(board), code_note(board)]


def data_note(board: Board, has_counts: bool = True, tasks: Collection[str] | None = None) -> str:
    """The data of each task, with how many examples of the test split were scored."""
    data = [
        f"{task} {ground.data_fingerprint[:8]}"
        + (f" ({ground.n_examples:,} examples)" if has_counts else "")
        for task in (board.mains if tasks is None else tasks)
        if (ground := board.grounds.get(task))
    ]
    return f"Data: {board.edition} edition, {board.scope}: {', '.join(data)}."


def code_note(board: Board) -> str:
    """Which code wrote the runs."""
    return f"Code: {counted(run.facts['code_version'] for run in board.runs if run.is_done)}."


def _seeds(board: Board) -> list[int]:
    return sorted({run.facts["seed"] for run in board.runs if run.is_done})


def _label(board: Board) -> str:
    """Suite or task, backbone, and what is not as by default: `image-text mini-bart`."""
    names = {board.edition, board.scope} - {"mini", "complete"}
    tasks = "+".join(board.mains) if board.is_part else board.suite
    return " ".join([tasks, board.backbone, *sorted(names)])


def _sections(
    board: Board, cells: Callable[[Row], Line], floors: Iterable[Line] = ()
) -> list[list[Line]]:
    """Lines of the methods, and of the baselines with more behind them: the name, these cells."""
    lines: dict[bool, list[Line]] = {False: [], True: []}
    for row in board.rows:
        lines[row.is_floor].append([Cell(row.method, row.details), *cells(row)])
    lines[True] += floors
    return [section for section in lines.values() if section]


def _score(board: Board, row: Row, metric: str) -> Cell:
    """The mean with its deviation, and n of seeds or tasks where some are missing."""
    stat = row.stat(metric)
    if metric == AVERAGE and not stat.n:
        n_scored = sum(row.stat(main).n > 0 for main in board.mains.values())
        return Cell(NONE, f" {n_scored}/{len(board.mains)}")
    fewer = f" (n={stat.n})" if 0 < stat.n < len(row.seeds) else ""
    marks = metric in row.below_floor, is_best(row, metric, board)
    return Cell(number(stat.mean), deviation(stat.std) + fewer, *marks)


def _families(board: Board, metric: str, names: list[str]) -> tuple[list[Column], list[list[Line]]]:
    """The metric by family, all examples last: families in columns or in rows."""
    families = [board.families.get((metric, name)) for name in names]
    majority = [family and family.majority for family in families[:-1]] + [board.majority[metric]]
    examples = [Cell(number(family and family.n_examples, digits=0)) for family in families]
    floors = [Cell(number(score)) for score in majority]

    def cells(row: Row) -> Line:
        means = [row.stat(metric, name).mean for name in names]
        return [
            Cell(number(mean), is_below=mean is not None and floor is not None and mean <= floor)
            for mean, floor in zip(means, majority, strict=True)
        ]

    if len(board.rows) >= len(names):
        columns = [Column("method"), *(Column(name or "all", "%") for name in names)]
        sections = _sections(board, cells, [[Cell("majority answer"), *floors]])
        return columns, [*sections, [[Cell("examples"), *examples]]]
    columns = [Column("family"), Column("examples", "n"), Column("majority", "%")]
    columns += [Column(row.label, "%") for row in board.rows]
    heads = [Cell(name or "all") for name in names]
    lines = list(map(list, zip(heads, examples, floors, *map(cells, board.rows), strict=True)))
    return columns, [lines[:-1], lines[-1:]]


def _with_published(table: Table, board: Board, part: PaperPart) -> list[Table]:
    """The leaderboard with published rows in a section of their own, or in a table behind it.

    Each of these rows says by itself that it was published, and by whom: `full published [1]`;
    below it stands the difference where there is any.
    """
    if not part.rows:
        note = f"Published: no paper has rows of {board.suite} with these methods."
        return [replace(table, notes=[*table.notes, note])]
    sources: dict[str, int] = {}
    lines: list[Line] = []
    for row, differences in part.rows:
        runner = "" if row.run_by == row.paper else f"; run by {row.run_by}"
        kind = "an ablation" if row.kind == "analysis" else "main results"
        source = f"{row.paper}, {row.table}, {kind}{runner}. Read from: {row.strength}."
        method, index = str(row.method), sources.setdefault(source, len(sources) + 1)
        printed = [row.metrics.get(name) for name in board.columns]
        scores = [Cell(number(p.mean), deviation(p.std)) if p else Cell(NONE) for p in printed]
        head = [Cell(method, f" published [{index}]"), Cell(percent(row.trainable_percent))]
        lines.append([*head, *scores, Cell(str(row.seeds))])
        if differences:
            texts = [signed(differences[n]) if n in differences else NONE for n in board.columns]
            below = Cell(method, f" measured {MINUS} [{index}]")
            lines.append([below, *map(Cell, [NONE, *texts, NONE])])
    notes = ["Published rows are papers' numbers, rounded; vlbench did not measure them."]
    notes += [DIFFERENCE_NOTE] if any(differences for _, differences in part.rows) else []
    if part.incomparable:
        tasks = ", ".join(part.incomparable)
        notes.append(f"No difference for {tasks}: the papers' test split is another, or not whole.")
    notes += [f"[{index}] {text}" for text, index in sources.items()]
    if not part.otherwise:
        sections, notes = [*table.sections, lines], [*table.notes, *notes]
        return [replace(table, sections=sections, notes=notes)]
    backbone, others = part.rows[0].row.backbone, " and ".join(part.otherwise)
    name = (
        f"Published: {board.suite} on {backbone}, full edition: {others}, not to be compared with "
        "what was measured here"
    )
    label = f"{board.suite} {backbone} published"
    return [table, Table(name, table.columns, [lines], notes, label)]
