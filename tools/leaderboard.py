"""Writes LEADERBOARD.md, its pictures and README's table from the committed results.

`python tools/leaderboard.py` after results/mini has changed; a test holds the text against it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from vlbench.leaderboard.board import AVERAGE, Board, summarise
from vlbench.leaderboard.examples import Examples, with_ties
from vlbench.leaderboard.formats import markdown_table
from vlbench.leaderboard.load import suite_tasks
from vlbench.leaderboard.results import read_results
from vlbench.leaderboard.statistics import LEVEL, Test, holm, holm_levels, test_difference
from vlbench.leaderboard.tables import report_tables

HOME = Path(__file__).resolve().parents[1]
RESULTS = HOME / "results" / "mini"
FIRST_SCREEN = (
    "full,hyperformer,shared-adapter,compacter,half-shared-adapter,adapter,shared-compacter,"
    "shared-lora,shared-prompt-tuning,blind,frozen"
)
"""README's rows: its first screen has no room for all."""


class Claim(NamedTuple):
    """What the paper finds of two methods, by the average over tasks."""

    text: str
    a: str
    b: str
    is_worse: bool
    """Whether A is said to be below B; else it is said not to be."""


CLAIMS = (
    Claim("One adapter for all tasks matches full fine-tuning", "shared-adapter", "full", False),
    Claim("Sharing costs the adapter nothing", "shared-adapter", "adapter", False),
    Claim("Sharing half costs the adapter nothing", "half-shared-adapter", "adapter", False),
    Claim("Sharing costs Compacter nothing", "shared-compacter", "compacter", False),
    Claim("Sharing costs LoRA nothing", "shared-lora", "lora", False),
    Claim("Hyperformer matches adapters per task", "hyperformer", "adapter", False),
    Claim("Compacter stays behind the adapter", "compacter", "adapter", True),
    Claim("LoRA stays behind the adapter", "shared-lora", "shared-adapter", True),
    Claim("Prompt tuning stays far behind", "shared-prompt-tuning", "shared-adapter", True),
)

INTRODUCTION = """\
# Leaderboard of the mini edition

Every number here was measured by vlbench on its embedded edition: a generated world of coloured
shapes in the official file formats, and `mini-bart`, a small backbone whose weights ship with the
package. It says how the methods compare **there**, under one recipe with the learning rates that
their cards name, most of them not searched but taken over from a similar method (`vlbench show
METHOD` says which), and nothing about the real VQAv2. The runs lie in
[results/mini](results/mini) with every answer of every model: `vlbench verify results/mini`
recomputes the numbers, `vlbench report --results results/mini` prints these tables, and
[the statistics](docs/statistics.md) say what bold means. Times were taken
beside other work on two cores of a CPU: good for orders of magnitude.

This page is written by `python tools/leaderboard.py`.
"""

FINDINGS = """\
## What of the paper's findings is seen here

The findings are those of VL-Adapter (Sung, Cho, Bansal, CVPR 2022) on CLIP-BART and real data.
Each is tested on the average of the four tasks; p is Holm-adjusted over all rows of this table, and
the simultaneous 95 % interval leaves out 0 exactly where a difference is seen. *Not contradicted*
means that no difference was shown, which is less than being equal: the interval says how far apart
the two may be, and three seeds are few.
"""


def boards() -> list[Board]:
    """The committed results, with ties."""
    examples = Examples(RESULTS)
    found = summarise(read_results(RESULTS), suite_tasks())
    return [with_ties(board, examples) for board in found]


def page(found: list[Board]) -> str:
    """LEADERBOARD.md."""
    parts = [INTRODUCTION]
    for board in found:
        main, costs = (markdown_table(table, 3) for table in report_tables([board], costs=True))
        parts += [
            f"## {board.suite}\n",
            f"![average against trainable parameters](docs/pareto-{board.suite}.svg)\n",
            main,
            costs,
        ]
    parts += [FINDINGS, findings(found)]
    return "\n".join(parts)


def findings(found: list[Board]) -> str:
    """The table of claims: what the test says of each, in each suite."""
    examples = Examples(RESULTS)
    rows = []
    for board in found:
        measured = {row.label: row for row in board.rows}  # a method as its card has it
        for claim in CLAIMS:
            if claim.a in measured and claim.b in measured:
                pair = [measured[claim.a], measured[claim.b]]
                scores = [examples.row_scores(row, [*board.mains]) for row in pair]
                means = [row.stat(AVERAGE).mean or 0.0 for row in pair]
                rows.append((claim, board.suite, means, test_difference(*scores)))
    p_values = [test.p for *_, test in rows]
    family = zip(holm(p_values), holm_levels(p_values), strict=True)
    lines = [
        "| finding | suite | A | B | A - B (interval) | p (Holm) | here |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for (claim, suite, (a, b), test), (p, level) in zip(rows, family, strict=True):
        low, high = test.interval(level)
        shown = "<0.001" if p < 0.001 else f"{p:.3f}"
        lines.append(
            f"| {claim.text} | {suite} | {claim.a} {a:.1f} | {claim.b} {b:.1f} "
            f"| {test.difference:+.1f} ({low:.1f} to {high:.1f}) | {shown} "
            f"| {_verdict(claim, test, p)} |"
        )
    return "\n".join([*lines, ""])


def _verdict(claim: Claim, tested: Test, p: float) -> str:
    place = "behind" if tested.difference < 0 else "ahead"
    if p < LEVEL:
        holds = place == "behind" if claim.is_worse else place == "ahead"
        return f"seen: A is {place}" if holds else f"**no: A is {place}**"
    if tested.p < LEVEL:
        return f"open: A is {place}, but not after the correction"
    return "not shown: no difference" if claim.is_worse else "not contradicted"


def main() -> None:
    """Write the page, the pictures and README's table."""
    from vlbench.cli.app import app

    (HOME / "LEADERBOARD.md").write_text(page(found := boards()), encoding="utf-8")
    for board in found:
        words = ["plot", "pareto", "--results", str(RESULTS), "--tasks", board.suite]
        out = HOME / "docs" / f"pareto-{board.suite}.svg"
        app([*words, "--out", str(out)], standalone_mode=False)
    (HOME / "README.md").write_text(readme(), encoding="utf-8")


def readme() -> str:
    """README with today's table between its marks."""
    from typer.testing import CliRunner

    from vlbench.cli.app import app

    words = ["report", "--results", str(RESULTS), "--format", "markdown", "--tasks", "image-text"]
    done = CliRunner().invoke(app, [*words, "--method", FIRST_SCREEN])
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    before, _, rest = (
        (HOME / "README.md").read_text(encoding="utf-8").partition("<!-- leaderboard -->")
    )
    _, _, after = rest.partition("<!-- /leaderboard -->")
    shown = "\n".join(["<!-- leaderboard -->", *table, "<!-- /leaderboard -->"])
    return f"{before}{shown}{after}"


if __name__ == "__main__":
    main()
