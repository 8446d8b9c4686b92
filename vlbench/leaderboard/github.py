"""A comparison for GitHub Actions: workflow commands, and a summary of the job in Markdown.

Commands are escaped as the runner unescapes them (the functions of its toolkit): names of methods
and paths come from outside, and a line of their own could be a command of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vlbench.errors import MissingError
from vlbench.leaderboard.compare_sheets import in_words, place
from vlbench.leaderboard.compare_text import compare_markdown
from vlbench.leaderboard.compared import Pair
from vlbench.leaderboard.gate import Gate, count_compared
from vlbench.text import printable_lines

SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable that names the file of the job's summary."""
MOST = 10
"""The runner shows so many annotations of a kind; the summary has all."""


def workflow_commands(pairs: Sequence[Pair], gate: Gate | None, reason: str = "") -> str:
    """An error per fault, a warning for what cannot be compared, a notice that says how it was.

    Where there is nothing to compare, the reason is an error.
    """
    return "".join(f"{line}\n" for line in _commands(pairs, gate, reason))


def append_summary(file: Path, pairs: Sequence[Pair], gate: Gate | None, reason: str = "") -> None:
    """Add the tables to the job's summary, or the reason why there are none."""
    text = compare_markdown(pairs, gate, reason)
    try:
        with file.open("a", encoding="utf-8", newline="\n") as summary:
            summary.write(f"{text}\n")
    except OSError as error:
        raise MissingError(f"{SUMMARY}={file}: cannot be written: {error.strerror}.") from None


def _commands(pairs: Sequence[Pair], gate: Gate | None, reason: str) -> Iterator[str]:
    if reason:
        yield _command("error", "vlbench: nothing compared", printable_lines(reason))
    faults = gate.faults if gate else ()
    for fault in faults[:MOST]:
        title = f"vlbench: {fault.item.task} {fault.kind}"
        yield _command("error", title, f"{in_words(fault.item)} [{place(fault.pair)}]")
    refused = {id(fault.item) for fault in faults}
    for pair in pairs:
        for item in pair.items:
            if item.tested is None and id(item) not in refused:
                title = f"vlbench: {item.task} not comparable"
                yield _command("warning", title, f"{in_words(item)} [{place(pair)}]")
    for pair in pairs:
        if count_compared([pair]):
            said = "\n".join(in_words(item) for item in pair.items)
            yield _command("notice", f"vlbench: {place(pair)}", said)
    if gate:
        yield _command(
            "notice" if gate.is_passed else "error", "vlbench: gate", "\n".join(gate.notes)
        )


def _command(name: str, title: str, message: str) -> str:
    return f"::{name} title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
