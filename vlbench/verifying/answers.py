"""The predictions of a task: the right examples, and each one's score by the official metric."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vlbench.cards.task import TaskCard
from vlbench.data.example import Example
from vlbench.errors import DataError, MissingError, RunFailed, VlbenchError
from vlbench.metrics import METRICS
from vlbench.metrics.scored import Scored
from vlbench.running.result import references, score
from vlbench.verifying.findings import Findings
from vlbench.verifying.ground import TaskGround
from vlbench.verifying.stored import Row, read_answers
from vlbench.verifying.trust import refusal

NOT_RECOMPUTED = "what the model said: only SHA256SUMS and the scores speak for it"
RECORDS = {
    "accuracy": "label",
    "captions": "captions",
    "gqa": "answer",
    "nlvr2": "label",
    "value-captions": "captions",
    "vqa": "answers",
    "vqa-2021": "answers",
}
"""Metric -> the key of an official record that `references` keeps."""


class Answered(NamedTuple):
    """A task's examples with the official scores of the stored predictions."""

    examples: Sequence[Example]
    scored: Scored


def check_answers(
    run: Path,
    card: TaskCard,
    ground: TaskGround | None,
    reason: str,
    is_trusting: bool,
    findings: Findings,
) -> Answered | str:
    """The scores of what is stored, each compared; or why its metrics cannot be recomputed.

    `reason` is why there is no ground: the references that are stored are taken for right then.
    """
    file = f"predictions/{card.name}.parquet"
    try:
        rows = read_answers(run / file)
    except DataError as error:
        findings.fault(file, "", "", "", "", str(error))
        return "its predictions cannot be read"
    findings.skip(NOT_RECOMPUTED, len(rows))
    if why := _not_scored(file, card, rows, ground, reason, is_trusting, findings):
        findings.skip(why, len(rows) * len(("family", "images", "text", "references", "score")))
        return why
    if ground is not None:
        examples: Sequence[Example] = ground.test
        _compare_examples(file, rows, examples, findings)
    else:
        findings.skip(reason, len(rows) * len(("family", "images", "text", "references")))
        examples = [_example(row, RECORDS[card.metric]) for row in rows]
    found = _scored(file, card, rows, examples, findings)
    if isinstance(found, str):
        findings.skip(found, len(rows))
    return found


def _not_scored(
    file: str,
    card: TaskCard,
    rows: Sequence[Row],
    ground: TaskGround | None,
    reason: str,
    is_trusting: bool,
    findings: Findings,
) -> str:
    """Why the predictions are not even looked at one by one; empty where they are."""
    if not _are_complete(file, rows, ground, findings):
        return "its predictions are not those of the test split"
    if ":" in card.metric and not is_trusting:
        return refusal([card.metric])
    return reason if ground is None and card.metric not in METRICS else ""


def _are_complete(
    file: str, rows: Sequence[Row], ground: TaskGround | None, findings: Findings
) -> bool:
    """Whether each example of the test split has one prediction, and nothing else has one."""
    before = len(findings.faults)
    times = Counter(row["id"] for row in rows)
    wanted = {example.id for example in ground.test} if ground else set(times)
    for each in sorted(wanted | times.keys()):
        if times[each] > 1:
            findings.fault(file, each, "id", f"{times[each]} predictions", "one")
        elif each not in times:
            findings.fault(file, each, "id", "no prediction", "one")
        elif each not in wanted:
            findings.fault(file, each, "id", "a prediction", "no such example in the test split")
        else:
            findings.checked += 1
    if not times:
        findings.fault(file, "", "", "no predictions", "those of the test split")
    return len(findings.faults) == before


def _compare_examples(
    file: str, rows: Sequence[Row], examples: Sequence[Example], findings: Findings
) -> None:
    by_id = {row["id"]: row for row in rows}
    for example in examples:
        row = by_id[example.id]
        findings.cell(file, example.id, "family", row["family"], example.family)
        findings.cell(file, example.id, "images", row["images"], list(example.images))
        findings.cell(file, example.id, "text", row["text"], example.text)
        findings.cell(file, example.id, "references", row["references"], references(example))


def _example(row: Row, key: str) -> Example:
    """An example as far as its prediction tells it."""
    try:
        found: Any = json.loads(row["references"])
    except (ValueError, RecursionError):
        found = None
    return Example(
        id=row["id"],
        text=row["text"],
        images=tuple(row["images"]),
        targets={},
        annotation={key: found},
        family=row["family"],
    )


def _scored(
    file: str,
    card: TaskCard,
    rows: Sequence[Row],
    examples: Sequence[Example],
    findings: Findings,
) -> Answered | str:
    answers = {row["id"]: row["prediction"] for row in rows}
    try:
        scored = score(card, examples, answers)
    except MissingError as error:
        if isinstance(error, DataError):
            findings.fault(file, "", "references", "", "", str(error))
            return "its predictions cannot be scored"
        return _short(error)
    except RunFailed:  # Java's fault, not that of what is stored
        raise
    except (VlbenchError, AttributeError, KeyError, TypeError) as error:
        # references that were tampered with may be anything
        findings.fault(file, "", "references", "", "", f"cannot be scored: {error}")
        return "its predictions cannot be scored"
    for row in rows:
        found = scored.per_example.get(row["id"])
        stored = row["score"]
        findings.cell(file, row["id"], "score", stored, None if found is None else float(found))
    return Answered(examples, scored)


def _short(error: VlbenchError) -> str:
    return str(error).strip().splitlines()[0]
