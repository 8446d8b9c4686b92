"""The tables of a board before any format: leaderboard, costs, question families, papers' rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from vlbench.leaderboard.board import AVERAGE, BELOW, BEST, FLOORS, Board, Row, is_best
from vlbench.leaderboard.paper import PaperPart, PaperRow, Published, published_parts

NONE = "—"
"""What stands where there is no number."""
MINUS = "\N{MINUS SIGN}"
AVERAGE_NOTE = "Average: plain mean of the tasks, per seed, only where all of them are there."
MAJORITY_NOTE = (
    "Majority answer: the most frequent training answer of the question's family, always."
)
BEST_NOTE = (
    f"Bold, or {BEST}: the best of a column and what ties with it by test, where its mean is more "
    "than its deviation above the floors."
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


class Heading(NamedTuple):
    """The head of a column: its name, and what is measured."""

    name: str
    unit: str = ""


class Cell(NamedTuple):
    """One cell: a number with its deviation apart, so that numbers stand below each other."""

    text: str
    tail: str = ""
    is_below: bool = False
    is_best: bool = False


@dataclass(frozen=True)
class Sheet:
    """One table to show: the first column is text, all others are numbers."""

    title: str
    headings: Sequence[Heading]
    sections: Sequence[Sequence[Sequence[Cell]]]
    """Groups of rows, with a line between them; the first is what was measured and ranked."""
    notes: Sequence[str]
    label: str = "table"
    """What a paper refers to it by, in a few words; several tables may have the same."""


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
    return ("" if float(text.replace(",", "")) == 0 else "+" if value > 0 else MINUS) + text


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


def sheets(
    boards: Sequence[Board],
    families: bool = False,
    costs: bool = False,
    papers: Sequence[PaperPart] = (),
) -> list[Sheet]:
    """Make the tables to show: a leaderboard per board, and after each what else is wanted."""
    tables: list[Sheet] = []
    for board, part in published_parts(boards, papers):
        shown = _with_published(main_sheet(board), board, part) if part else [main_sheet(board)]
        shown += [cost_sheet(board)] if costs else []
        shown += family_sheets(board) if families else []
        tables += [table for table in shown if table not in tables]  # papers' rows of two boards
    return tables


def main_sheet(board: Board) -> Sheet:
    """Make the leaderboard: a row per method, the main metric of each task, the average."""
    methods, floors = _sections(board, lambda row: _main_row(row, board))
    if has_majority(board):
        answers = [Cell(number(board.majority[metric])) for metric in board.mains.values()]
        average = [Cell(NONE)] if len(board.mains) > 1 else []
        floors.append([Cell("majority answer"), Cell(NONE), *answers, *average, Cell(NONE)])
    return Sheet(
        title(board),
        main_headings(board),
        _filled(methods, floors),
        board_notes(board),
        _label(board),
    )


def main_headings(board: Board) -> list[Heading]:
    """Method, trainable percent, a column per task, the average of several, seeds."""
    tasks = [Heading(task, short_metric(metric, task)) for task, metric in board.mains.items()]
    average = [Heading(AVERAGE, f"{len(tasks)} tasks")] if len(tasks) > 1 else []
    return [Heading("method"), Heading("trainable", "%"), *tasks, *average, Heading("seeds", "n")]


def cost_sheet(board: Board) -> Sheet:
    """Make the table of what each method costs: parameters, storage, memory, time."""
    headings = [
        Heading("method"),
        Heading("trainable", "parameters"),
        Heading("trainable", "%"),
        Heading("adapter", "KB"),
        Heading("peak memory", "MB"),
        Heading("training", "s"),
        Heading("throughput", "examples/s"),
        Heading("evaluation", "s"),
    ]
    notes = [
        "Mean over seeds; KB is 1000 bytes, MB 1000 KB. Training is without validation.",
        "Evaluation generates and scores the test split of all tasks shown.",
        f"Device: {counted(run.facts['device'] for run in board.runs if run.is_done)}.",
    ]
    sections = _filled(*_sections(board, _cost_row))
    return Sheet(f"{title(board)}: costs", headings, sections, notes, f"{_label(board)} costs")


def family_sheets(board: Board) -> list[Sheet]:
    """Make a table per task that has question families; rows are what there is more of."""
    return [
        _family_sheet(board, task, metric, families)
        for task, metric in board.mains.items()
        if (families := sorted(name for other, name in board.families if other == metric and name))
    ]


def board_notes(board: Board) -> list[str]:
    """Units and seeds, what the marks mean, and the data and code that the numbers come from."""
    done = [run.facts for run in board.runs if run.is_done]
    is_marked = any(is_best(row, metric, board) for row in board.rows for metric in row.ties)
    return [
        seeds_note(board),
        *([AVERAGE_NOTE] if len(board.mains) > 1 else []),
        *([BEST_NOTE] if is_marked else []),
        *([MAJORITY_NOTE] if has_majority(board) else []),
        *([BELOW_NOTE] if any(row.below_floor for row in board.rows) else []),
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


def _filled(*sections: list[list[Cell]]) -> list[list[list[Cell]]]:
    return [section for section in sections if section]


def _sections(board: Board, line: Callable[[Row], list[Cell]]) -> tuple[list[list[Cell]], ...]:
    """Lines of the methods, and of the baselines."""
    return tuple(
        [line(row) for row in board.rows if row.is_floor is floor] for floor in (False, True)
    )


def _main_row(row: Row, board: Board) -> list[Cell]:
    cells = [Cell(row.method, row.details), Cell(percent(row.facts["trainable_percent"]))]
    cells += [_stat(board, row, metric) for metric in board.mains.values()]
    if len(board.mains) > 1 and row.average.n:
        cells.append(_stat(board, row, AVERAGE))
    elif len(board.mains) > 1:
        known = sum(row.stat(metric).n > 0 for metric in board.mains.values())
        cells.append(Cell(NONE, f" {known}/{len(board.mains)}"))
    return [*cells, Cell(str(len(row.seeds)))]


def _stat(board: Board, row: Row, metric: str) -> Cell:
    stat = row.stat(metric)
    fewer = f" (n={stat.n})" if 0 < stat.n < len(row.seeds) else ""
    return Cell(
        number(stat.mean),
        deviation(stat.std) + fewer,
        metric in row.below_floor,
        is_best(row, metric, board),
    )


def _cost_row(row: Row) -> list[Cell]:
    parameters = row.facts["trainable_parameters"]
    costs = {name: stat.mean for name, stat in row.costs.items()}
    return [
        Cell(row.method, row.details),
        Cell(number(parameters, digits=0)),
        Cell(percent(row.facts["trainable_percent"])),
        Cell(number(costs["adapter_bytes"], 1e-3)),
        Cell(number(costs["peak_memory_bytes"], 1e-6, digits=0)),
        Cell(number(costs["train_seconds"])),
        Cell(number(costs["examples_per_second"], digits=0)),
        Cell(number(costs["evaluate_seconds"])),
    ]


def _family_sheet(board: Board, task: str, metric: str, families: list[str]) -> Sheet:
    names = [*families, ""]  # all examples

    def majority(family: str) -> float | None:
        return board.families[metric, family].majority if family else board.majority[metric]

    def value(row: Row, family: str) -> Cell:
        mean, floor = row.stat(metric, family).mean, majority(family)
        return Cell(number(mean), "", mean is not None and floor is not None and mean <= floor)

    counts = {
        name: family.n_examples
        for (other, name), family in board.families.items()
        if other == metric
    }
    examples = [Cell(number(counts.get(name), digits=0)) for name in names]
    floors = [Cell(number(majority(name))) for name in names]
    if len(board.rows) > len(families):
        headings = [Heading("method"), *(Heading(name or "all", "%") for name in names)]
        methods, baselines = _sections(
            board,
            lambda row: [Cell(row.method, row.details), *(value(row, name) for name in names)],
        )
        baselines.append([Cell("majority answer"), *floors])
        sections = _filled(methods, baselines, [[Cell("examples"), *examples]])
    else:
        headings = [Heading("family"), Heading("examples", "n"), Heading("majority", "%")]
        headings += [Heading(row.label, "%") for row in board.rows]
        lines = [
            [Cell(name or "all"), count, floor, *(value(row, name) for row in board.rows)]
            for name, count, floor in zip(names, examples, floors, strict=True)
        ]
        sections = [lines[:-1], lines[-1:]]
    name = f"{title(board)}: {task} {short_metric(metric, task)} by family"
    return Sheet(name, headings, sections, [FAMILY_NOTE], f"{_label(board)} {task} families")


def _with_published(sheet: Sheet, board: Board, part: PaperPart) -> list[Sheet]:
    """The leaderboard with published rows in a section of their own, or in a table behind it.

    Each of these rows says by itself that it was published, and by whom: `full published [1]`.
    """
    if not part.rows:
        note = f"Published: no paper has rows of {board.suite} with these methods."
        return [replace(sheet, notes=[*sheet.notes, note])]
    texts = dict.fromkeys(_source(published.row) for published in part.rows)
    sources = {text: index for index, text in enumerate(texts, start=1)}
    lines = [line for published in part.rows for line in _published(board, published, sources)]
    notes = ["Published rows are papers' numbers, rounded; vlbench did not measure them."]
    notes += [DIFFERENCE_NOTE] if any(published.differences for published in part.rows) else []
    if part.incomparable:
        tasks = ", ".join(part.incomparable)
        notes.append(f"No difference for {tasks}: the papers' test split is another, or not whole.")
    notes += [f"[{index}] {text}" for text, index in sources.items()]
    if not part.otherwise:
        sections, notes = [*sheet.sections, lines], [*sheet.notes, *notes]
        return [replace(sheet, sections=sections, notes=notes)]
    place = f"{board.suite} on {part.rows[0].row.backbone}"
    name = (
        f"Published: {place}, full edition: {' and '.join(part.otherwise)}, not to be compared with"
        " what was measured here"
    )
    label = f"{place.replace(' on ', ' ')} published"
    return [sheet, Sheet(name, main_headings(board), [lines], notes, label)]


def _source(row: PaperRow) -> str:
    runner = "" if row.run_by == row.paper else f"; run by {row.run_by}"
    kind = "an ablation" if row.kind == "analysis" else "main results"
    return f"{row.paper}, {row.table}, {kind}{runner}. Read from: {row.strength}."


def _published(board: Board, published: Published, sources: Mapping[str, int]) -> list[list[Cell]]:
    """The published row, and the difference below it where there is any."""
    row, differences = published.row, published.differences
    index, method = sources[_source(row)], str(row.method)
    names = [*board.mains.values(), *([AVERAGE] if len(board.mains) > 1 else [])]
    printed = [row.metrics.get(name) for name in names]
    lines = [
        [
            Cell(method, f" published [{index}]"),
            Cell(percent(row.trainable_percent)),
            *(Cell(number(p.mean), deviation(p.std)) if p else Cell(NONE) for p in printed),
            Cell(str(row.seeds)),
        ]
    ]
    if differences:
        cells = [Cell(signed(differences[n]) if n in differences else NONE) for n in names]
        label = Cell(method, f" measured {MINUS} [{index}]")
        lines.append([label, Cell(NONE), *cells, Cell(NONE)])
    return lines
