"""The files that the authors of LXMERT, VL-T5 and VL-Adapter made of the official questions.

A list of `{"question_id", "img_id", "sent", "label"}`; some copies have `question` for `sent`.
`label` is answer -> score, and empty where no answer is in the authors' list of frequent ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlbench.data.example import Example
from vlbench.data.faults import Faults, RecordFault, T, excerpt, field
from vlbench.data.readers.base import name_of
from vlbench.data.readers.json_text import read_list

Record = dict[str, Any]


def read_questions(
    path: Path, id_kind: type[T], faults: Faults
) -> Iterator[tuple[str, Example, Record]]:
    """What messages call it, the example without its annotation, and the record as it is."""
    seen: set[Any] = set()
    for position, record in enumerate(read_list(path)):
        where = f"question {name_of(record, 'question_id', position)}"
        with faults.of(path, where):
            question = field(record, "question_id", id_kind)
            if question in seen:
                raise RecordFault("is there twice")
            seen.add(question)
            example = Example(
                id=str(question),
                text=field(record, "question" if "question" in record else "sent", str),
                images=(field(record, "img_id", str),),
                targets=soft_label(record),
            )
            yield where, example, record


def soft_label(record: Record) -> dict[str, float]:
    """Answer -> score in (0, 1]; there may be none."""
    label: dict[str, Any] = field(record, "label", dict)
    for answer, score in label.items():
        if type(score) not in (int, float) or not 0 <= score <= 1:
            raise RecordFault(f"'label' of {excerpt(answer)} should be a score, 0 to 1: {score}")
    return {answer: float(score) for answer, score in label.items() if score}
