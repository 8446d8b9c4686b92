"""Writes LEADERBOARD.md, its pictures and the tables of README and docs from committed results.

`python -m tools.leaderboard` after results/ has changed; tests hold the texts against it. Where a
bar of `tools/acceptance.py` is missed, nothing is written, or with `--unfinished` the page says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from tools.acceptance import HEADS, Bar, all_bars
from tools.command import run_command
from vlbench.cli import note, print_table
from vlbench.errors import RunFailed
from vlbench.leaderboard.board import Board, Row
from vlbench.leaderboard.compare import Side, test_sides
from vlbench.leaderboard.examples import Examples
from vlbench.leaderboard.formats import escape, markdown_table
from vlbench.leaderboard.load import Filters, read_boards
from vlbench.leaderboard.statistics import LEVEL, MARGIN, holm, holm_levels, verdict
from vlbench.leaderboard.tables import report_tables
from vlbench.process import guard_output

HOME = Path(__file__).resolve().parents[1]
RESULTS = HOME / "results" / "mini"
FIRST_SCREEN = (
    "full,adapter,shared-adapter,compacter,shared-lora,bitfit,shared-prompt-tuning,frozen"
)
"""README's rows: its first screen has no room for all."""
PICTURES = ["--results", str(RESULTS), "--tasks", "image-text", "--backbone", "mini-bart"]
TABLES = {"README.md": ("leaderboard", [*PICTURES, "--method", FIRST_SCREEN])}
"""Page -> the marks around its table, and the options of the report that it shows."""


class Claim(NamedTuple):
    """What the paper finds of two methods, over all tasks."""

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

Every number here was measured by vlbench on its embedded edition: a generated world of colored
shapes in the official file formats ([the mini edition](docs/mini-edition.md)), and two small
backbones whose weights ship with the package. It says how the methods compare **there**, and
nothing about the real VQAv2. Learning rates come from one search for all (`vlbench sweep`; the
column of trials counts it, `vlbench show METHOD` says what was tried), all else from one recipe.

The runs and the trials lie in [results/mini](results/mini) with every answer of every model:
`vlbench verify results/mini` recomputes the numbers, `vlbench report --results results/mini` prints
these tables, and [the statistics](docs/statistics.md) say what bold means. Times were taken beside
other work on two cores of a CPU: good for orders of magnitude.

This page is written by `python -m tools.leaderboard`.
"""

UNFINISHED = """\
## Unfinished

A finished board clears every bar of `python -m tools.acceptance results/mini`. This one misses:
"""
FINDINGS = """\
## What of the paper's findings is seen here

The findings are those of VL-Adapter (Sung, Cho, Bansal, CVPR 2022) on CLIP-BART and real data.
Each is tested on the normalised score, where 0 is a task's highest floor and 100 full fine-tuning.
A *matches* B where the 90 % interval of the difference lies within 5 points; it is *not worse*
where that interval ends above -5. *Better* and *worse* are differences shown at 5 % after Holm's
correction over the board's findings, to which the 95 % interval belongs. *Undecided* says how far
apart the two may be.
"""


def boards() -> list[Board]:
    """The committed results, with ties."""
    return read_boards(RESULTS, Filters(), Examples(RESULTS))


def missed_bars(found: list[Board]) -> list[Bar]:
    """The bars that the committed results miss."""
    return [bar for bar in all_bars(found, Examples(RESULTS)) if not bar.is_met]


def page(found: list[Board], missed: list[Bar]) -> str:
    """LEADERBOARD.md."""
    parts = [INTRODUCTION]
    if missed:
        lines = [" | ".join(map(escape, bar.cells[1:])) for bar in missed]
        heads = " | ".join(HEADS[1:])
        table = [f"| {line} |" for line in (heads, "--- | --- | ---", *lines)]
        parts += ["\n".join([UNFINISHED, *table, ""])]
    for suite in suites(found):
        picture = f"![normalised score against trainable parameters](docs/pareto-{suite}.svg)\n"
        parts += [f"## {suite}\n", picture]
        for board in (board for board in found if board.suite == suite):
            parts += [markdown_table(table, 3) for table in report_tables([board], costs=True)]
    parts += [FINDINGS, findings(found)]
    return "\n".join(parts)


def suites(found: list[Board]) -> list[str]:
    """The suites of boards, each once."""
    return list(dict.fromkeys(board.suite for board in found))


def findings(found: list[Board]) -> str:
    """The table of claims: what the test says of each, on each board."""
    lines = [
        "| finding | board | A | B | A - B | 95 % interval | 90 % interval | verdict | here |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    for board in found:
        lines += _findings(board)
    return "\n".join([*lines, ""])


def _findings(board: Board) -> list[str]:
    examples, rows = Examples(RESULTS), {row.label: row for row in board.rows}
    claims = [claim for claim in CLAIMS if claim.a in rows and claim.b in rows]
    metrics = {task: board.mains[task] for task in board.counted}
    tests = []
    for claim in claims:
        a, b = (Side(board, rows[name], examples) for name in (claim.a, claim.b))
        tests.append(test_sides(a, b, metrics, ruled=a))
    p = [test.p for test in tests]
    lines = []
    for claim, test, p_holm, level in zip(claims, tests, holm(p), holm_levels(p), strict=True):
        word = verdict(test, p_holm, MARGIN)
        intervals = (test.interval(level), test.interval(2 * LEVEL))
        shown = " | ".join(f"{low:.1f} to {high:.1f}" for low, high in intervals)
        pair = f"{_named(rows[claim.a])} | {_named(rows[claim.b])}"
        lines.append(
            f"| {claim.text} | {board.suite} on {board.backbone} | {pair} "
            f"| {test.difference:+.1f} | {shown} | {word} | {_answer(claim, word)} |"
        )
    return lines


def _named(row: Row) -> str:
    return f"{row.label} {row.normalised.mean or 0.0:.1f}"


def _answer(claim: Claim, word: str) -> str:
    """Whether the verdict is the paper's finding."""
    if word == "undecided":
        return "open"
    return "seen" if (word == "worse") == claim.is_worse else "**not seen**"


def main(
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Write despite them.")] = False,
) -> None:
    """Write the page, the pictures and the tables of other pages, unless a bar is missed."""
    from vlbench.cli.app import app

    found = boards()
    missed = missed_bars(found)
    if missed and not unfinished:
        print_table([bar.cells for bar in missed], HEADS)
        note("Nothing is written, as these bars are missed; --unfinished writes, and says so.")
        raise typer.Exit(RunFailed.exit_code)
    (HOME / "LEADERBOARD.md").write_text(page(found, missed), encoding="utf-8")
    for suite in suites(found):
        words = ["plot", "pareto", "--results", str(RESULTS), "--tasks", suite]
        out = HOME / "docs" / f"pareto-{suite}.svg"
        app([*words, "--out", str(out)], standalone_mode=False)
    for name in TABLES:
        (HOME / name).write_text(with_table(name), encoding="utf-8")


def with_table(name: str) -> str:
    """A page of TABLES with today's table between its marks."""
    from typer.testing import CliRunner

    from vlbench.cli.app import app

    mark, words = TABLES[name]
    done = CliRunner().invoke(app, ["report", "--format", "markdown", *words])
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    before, _, rest = (HOME / name).read_text(encoding="utf-8").partition(f"<!-- {mark} -->")
    _, _, after = rest.partition(f"<!-- /{mark} -->")
    shown = "\n".join([f"<!-- {mark} -->", *table, f"<!-- /{mark} -->"])
    return f"{before}{shown}{after}"


if __name__ == "__main__":
    guard_output()
    run_command(main, "tools.leaderboard")
