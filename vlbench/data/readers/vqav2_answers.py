"""VQAv2's annotation files: ten answers a question, read one question at a time.

Of a million and more answer records only those stay that are to be scored by; training keeps
answers and scores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Set
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

from vlbench.data.faults import Faults, RecordFault, field
from vlbench.data.readers.base import name_of
from vlbench.data.readers.json_text import read_list

SOFT_SCORES = {1: 0.3, 2: 0.6, 3: 0.9}
Record = dict[str, Any]


class Annotation(NamedTuple):
    """What is kept of a question's annotation."""

    image: int
    targets: dict[str, float]
    family: str
    record: Record


NOTHING: Record = {}
TYPES = ("answer_type", "question_type")
"""What scores are grouped by, where it is there."""


def read_annotations(
    path: Path,
    images: Container[int],
    frequent: Set[str] | None,
    faults: Faults,
    for_training: bool,
) -> dict[int, Annotation]:
    """The annotations by question id; of other images than `images` just their image."""
    annotations: dict[int, Annotation] = {}
    for position, record in enumerate(read_list(path, "annotations")):
        with faults.of(path, f"question {name_of(record, 'question_id', position)}"):
            question = field(record, "question_id", int)
            if question in annotations:
                raise RecordFault("is there twice")
            image = field(record, "image_id", int)
            require_answers(record)
            annotations[question] = Annotation(image, NOTHING, "", NOTHING)
            if image in images:
                annotations[question] = Annotation(
                    image,
                    soft_scores(record, frequent),
                    intern(str(record.get("question_type", ""))),
                    NOTHING if for_training else record,
                )
    return annotations


def read_raw(path: Path, questions: Container[int], faults: Faults) -> Iterator[tuple[int, Record]]:
    """(question id, annotation) of these questions."""
    for position, record in enumerate(read_list(path, "annotations")):
        with faults.of(path, f"question {name_of(record, 'question_id', position)}"):
            if field(record, "question_id", int) in questions:
                require_answers(record)
                yield record["question_id"], record


def require_answers(record: Record) -> None:
    """A RecordFault where a record has no answers, or one or a type that is no text."""
    for key in TYPES:
        if record.get(key) is not None:
            field(record, key, str)
    if not field(record, "answers", list):
        raise RecordFault("no answers")
    for answer in record["answers"]:  # six million: `field` is for the faulty
        if type(answer) is not dict or type(answer.get("answer")) is not str:
            field(answer, "answer", str)


def soft_scores(annotation: Record, frequent: Set[str] | None = None) -> dict[str, float]:
    """Answer -> score in (0, 1] by how many annotators gave it; only `frequent` ones if given."""
    counts = Counter(answer["answer"] for answer in annotation["answers"])
    return {
        intern(answer): SOFT_SCORES.get(count, 1.0)
        for answer, count in counts.items()
        if frequent is None or answer in frequent
    }
