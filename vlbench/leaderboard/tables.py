"""The tables of a board before any format: leaderboard, costs, question families, papers' rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

from vlbench.leaderboard.board import AVERAGE, BELOW, BEST, FEWER, FLOORS, Board, Row, is_best
from vlbench.leaderboard.normalised import NORMALISED
from vlbench.leaderboard.paper import PaperPart, Papers

NONE, MINUS = "—", "\N{MINUS SIGN}"
"""What stands where there is no number, and before a negative one."""
TRIALS_NOTE = (
    "Trials: runs of the search for the learning rate that are stored here, on validation splits."
)
FEWER_NOTE = (
    f"{FEWER} marks rows with fewer trials than others; one more, outwards, belongs to a search "
    "whose best rate lay at the end."
)
AVERAGE_NOTE = "Average: plain mean of the tasks, per seed, only where all of them are there."


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


@dataclass(frozen=True)
class Table:
    """A table in no format yet: the first column is text, all others are numbers.

    Between its sections, groups of rows, stands a rule; the first is what was measured and ranked.
    """

    title: str
    columns: Sequence[Column]
    sections: Sequence[Sequence[list[Cell]]]
    notes: Sequence[str]
    label: str = "table"  # by which a paper refers to it


COST_HEADS = (
    Column("trainable", "parameters"), Column("trainable", "%"), Column("adapter", "KB"),
    Column("peak memory", "MB"), Column("training", "s"), Column("throughput", "examples/s"),
    Column("evaluation", "s"),
)  # fmt: skip
TOWER_HEADS = (Column("of all", "%"), Column("projector", ""))
TOWER_NOTE = "Of all: trainable parameters of the whole model's, its picture tower included."
COST_FORMATS = {
    "adapter_bytes": (1e-3, 1),
    "peak_memory_bytes": (1e-6, 0),
    "train_seconds": (1.0, 1),
    "examples_per_second": (1.0, 0),
    "evaluate_seconds": (1.0, 1),
}
"""Factor to the unit and digits of each measured cost."""


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
        tables.append(main_table(board))
        tables += [published_table(tables[-1], board, part)] if part and part.rows else []
        tables += [cost_table(board)] if costs else []
        tables += family_tables(board) if families else []
    return tables


def main_table(board: Board) -> Table:
    """Make the leaderboard: a row per method, the main metric of each task, the average."""

    def cells(row: Row) -> list[Cell]:
        scores = [_score(board, row, metric) for metric in board.columns]
        trainable = Cell(percent(row.facts["trainable_percent"]))
        ranks = [Cell(number(row.mean_rank))] * has_ranks
        fewer = FEWER * row.has_fewer_trials
        trials = [Cell(number(row.n_trials, digits=0), fewer)] * board.has_trials
        return [trainable, *scores, *ranks, *trials, Cell(str(len(row.seeds)))]

    tasks = [Column(task, short_metric(metric, task)) for task, metric in board.mains.items()]
    n_counted = len(board.ruler.floors) if board.ruler else 0
    counts = {AVERAGE: f"{len(tasks)} tasks", NORMALISED: f"{n_counted} of {len(tasks)} tasks"}
    means = [Column(name, counts[name]) for name in board.columns if name in counts]
    has_ranks = any(row.mean_rank is not None for row in board.rows) and len(tasks) > 1
    ranks = [Column("rank", "mean")] * has_ranks
    trials = [Column("trials", "n")] * board.has_trials
    columns = [Column("method"), Column("trainable", "%"), *tasks, *means, *ranks, *trials]
    columns.append(Column("seeds", "n"))
    majority = [NONE, *(number(board.majority.get(metric)) for metric in board.columns)]
    majority += [NONE] * (len(columns) - len(majority) - 1)
    has_majority = any(score is not None for score in board.majority.values())
    lines = [list(map(Cell, ["majority answer", *majority]))] * has_majority
    return Table(
        title(board), columns, _sections(board, cells, lines), board_notes(board), _label(board)
    )


def cost_table(board: Board) -> Table:
    """Make the table of what each method costs: parameters, storage, memory, time."""
    notes = [
        "Mean over seeds; KB is 1000 bytes, MB 1000 KB. Training is without validation.",
        "Evaluation generates and scores the test split of all tasks shown.",
        f"Device: {counted(run.facts['device'] for run in board.runs if run.is_done)}.",
    ]
    name, label = f"{title(board)}: costs", f"{_label(board)} costs"
    has_tower = any(_has_tower(row) for row in board.rows)
    notes += [TOWER_NOTE] * has_tower

    def cells(row: Row) -> list[Cell]:
        return list(map(Cell, [*cost_texts(row), *(_tower_texts(row) if has_tower else [])]))

    columns = [Column("method"), *COST_HEADS, *(TOWER_HEADS if has_tower else [])]
    return Table(name, columns, _sections(board, cells), notes, label)


def cost_texts(row: Row) -> list[str]:
    """Format what a row costs, in the order of COST_HEADS."""
    trainable = number(row.facts["trainable_parameters"], digits=0)
    costs = (number(row.costs[name].mean, *how) for name, how in COST_FORMATS.items())
    return [trainable, percent(row.facts["trainable_percent"]), *costs]


def _has_tower(row: Row) -> bool:
    """Whether the model has parameters beside those of the denominator."""
    return row.facts["model_parameters"] not in (None, row.facts["total_parameters"])


def _tower_texts(row: Row) -> list[str]:
    """Format the cells under TOWER_HEADS."""
    trained, whole = (row.facts[f"{name}_parameters"] for name in ("trainable", "model"))
    share = None if trained is None or whole is None else 100 * trained / whole
    projector = {True: "trained", False: "frozen"}.get(row.facts["projector"], NONE)
    return [percent(share), projector]


def family_tables(board: Board) -> list[Table]:
    """Make a table per task that has question families: a column each, all examples last."""
    by_task = {
        task: sorted(name for other, name in board.families if other == metric and name)
        for task, metric in board.mains.items()
    }
    return [_family_table(board, task, [*names, ""]) for task, names in by_task.items() if names]


def _family_table(board: Board, task: str, names: Sequence[str]) -> Table:
    metric = board.mains[task]
    families = [board.families.get((metric, name)) for name in names]
    majority = [family and family.majority for family in families[:-1]] + [board.majority[metric]]
    n_examples = [number(family and family.n_examples, digits=0) for family in families]

    def cells(row: Row) -> list[Cell]:
        means = [row.stat(metric, name).mean for name in names]
        return [
            Cell(number(mean), is_below=mean is not None and floor is not None and mean <= floor)
            for mean, floor in zip(means, majority, strict=True)
        ]

    floors = list(map(Cell, ["majority answer", *map(number, majority)]))
    sections = [*_sections(board, cells, [floors]), [list(map(Cell, ["examples", *n_examples]))]]
    columns = [Column("method"), *(Column(name or "all", "%") for name in names)]
    note = f"Mean over seeds; {BELOW} marks what is at or below the family's majority answer."
    name = f"{title(board)}: {task} {short_metric(metric, task)} by family"
    return Table(name, columns, sections, [note], f"{_label(board)} {task} families")


def board_notes(board: Board) -> list[str]:
    """Units and seeds, what the marks mean, and the data and code that the numbers come from."""
    done = [run.facts for run in board.runs if run.is_done]
    is_marked = any(is_best(row, metric) for row in board.rows for metric in row.ties)
    best = "the best of a column and what ties with it by test, where its mean is more than its"
    majority = "the most frequent training answer of the question's family, always."
    rows = " or ".join(name for name in FLOORS if name in {row.method for row in board.rows})
    floors = f"the majority answer{f', or the row of {rows}' if rows else ''}."
    return [
        seeds_note(board),
        *[AVERAGE_NOTE] * (len(board.mains) > 1),
        *ruler_notes(board),
        *[f"Bold, or {BEST}: {best} deviation above the floors."] * is_marked,
        *[f"Majority answer: {majority}"]
        * any(score is not None for score in board.majority.values()),
        *[f"{BELOW} marks what is at or below a floor: {floors}"]
        * any(row.below_floor for row in board.rows),
        *[TRIALS_NOTE] * board.has_trials,
        *[FEWER_NOTE] * any(row.has_fewer_trials for row in board.rows),
        f"Trainable %: denominator {counted(facts['denominator'] for facts in done)}.",
        data_note(board),
        code_note(board),
        *board.notes,
    ]


def ruler_notes(board: Board) -> list[str]:
    """What the normalised score is, and the tasks that it leaves out."""
    if len(board.mains) < 2:
        return []
    if board.ruler is None:
        has_full = any(row.method == "full" and row.runs for row in board.rows)
        why = "it needs full with all tasks and without --set, and a floor of each task"
        return [f"No normalised score: {why}."] * has_full
    notes = []
    if board.ruler.floors:
        notes.append(
            f"Normalised: 0 is a task's highest floor, 100 what {board.ruler.row} scores; the mean "
            "over tasks, by which rows are sorted."
        )
    metrics = {metric: task for task, metric in board.mains.items()}
    for metric, why in board.ruler.saturated.items():
        notes.append(f"Saturated, so not in the normalised score: {metrics[metric]}, as {why}.")
    return notes


def seeds_note(board: Board) -> str:
    """The unit of the numbers, the seeds they are over, and which rows have others."""
    n_seeds = len({run.facts["seed"] for run in board.runs if run.is_done})
    spread = "mean ± sample standard deviation over seeds" if n_seeds > 1 else "seed"
    return f"Percent (CIDEr x 100); {spread} {listed_seeds(board)}."


def listed_seeds(board: Board) -> str:
    """All seeds, then the rows that have others."""
    seeds = sorted({run.facts["seed"] for run in board.runs if run.is_done})
    fewer = [row for row in board.rows if row.seeds and list(row.seeds) != seeds]
    others = (f"{row.label}: {', '.join(map(str, row.seeds))}" for row in fewer)
    return "; ".join([", ".join(map(str, seeds)) or "none", *others])


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


def _label(board: Board) -> str:
    """Suite or task, backbone, and what is not as by default: `image-text mini-bart`."""
    tasks = "+".join(board.mains) if board.is_part else board.suite
    others = (board.edition, board.scope, str(board.limit or ""), board.apart)
    return " ".join([tasks, board.backbone, *(o for o in others if o not in ("mini", "complete"))])


def _sections(
    board: Board, cells: Callable[[Row], list[Cell]], floors: Iterable[list[Cell]] = ()
) -> list[list[list[Cell]]]:
    """Lines of the methods, and of the baselines with more behind them: the name, these cells."""
    lines: dict[bool, list[list[Cell]]] = {False: [], True: []}
    for row in board.rows:
        lines[row.is_floor].append([Cell(row.method, row.details), *cells(row)])
    lines[True] += floors
    return [section for section in lines.values() if section]


def _score(board: Board, row: Row, metric: str) -> Cell:
    stat = row.stat(metric)
    if metric in (AVERAGE, NORMALISED) and not stat.n:
        n_scored = sum(row.stat(main).n > 0 for main in board.mains.values())
        return Cell(NONE, f" {n_scored}/{len(board.mains)}")
    fewer = f" (n={stat.n})" if 0 < stat.n < len(row.seeds) else ""
    marks = metric in row.below_floor, is_best(row, metric)
    return Cell(number(stat.mean), deviation(stat.std) + fewer, *marks)


def published_table(main: Table, board: Board, part: PaperPart) -> Table:
    """Make the table of published rows beside a leaderboard: the difference below each, if any."""
    sources: dict[str, int] = {}
    lines: list[list[Cell]] = []
    for row, differences in part.rows:
        runner = "" if row.run_by == row.paper else f"; run by {row.run_by}"
        kind = "an ablation" if row.kind == "analysis" else "main results"
        source = f"{row.paper}, {row.table}, {kind}{runner}. Read from: {row.strength}."
        method, index = str(row.method), sources.setdefault(source, len(sources) + 1)
        printed = [row.metrics.get(name) for name in board.columns]
        scores = [Cell(number(p.mean), deviation(p.std)) if p else Cell(NONE) for p in printed]
        head = [Cell(method, f" published [{index}]"), Cell(percent(row.trainable_percent))]
        ranks = [Cell(NONE)] * (len(main.columns) - len(head) - len(scores) - 1)
        lines.append([*head, *scores, *ranks, Cell(str(row.seeds))])
        if differences:
            texts = [signed(differences[n]) if n in differences else NONE for n in board.columns]
            below = Cell(method, f" measured {MINUS} [{index}]")
            lines.append([below, *map(Cell, [NONE, *texts, NONE]), *ranks])
    notes = ["Papers' numbers, rounded; vlbench did not measure them."]
    if any(differences for _, differences in part.rows):
        notes.append(f"Measured {MINUS} [n]: a difference in points, where the protocols match.")
    notes += [f"[{index}] {text}" for text, index in sources.items()]
    others = f": {' and '.join(part.otherwise)}, not to be compared with what was measured here"
    name = f"Published: {board.suite} on {part.rows[0][0].backbone}, full edition"
    name += others * bool(part.otherwise)
    return Table(name, main.columns, [lines], notes, f"{main.label} published")
