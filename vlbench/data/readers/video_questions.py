"""TVQA and How2QA as VALUE has them: a question about a moment of a clip, and the choices.

The text names the choices, `a0: ... a1: ...`, and the answer is the name of the right one: some
questions have the same choice twice, so its text does not tell which is right. The moment `ts` is
text and stands in the example as it is, `NaN-NaN` and `0-0` too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from vlbench.data.example import Example
from vlbench.data.faults import RecordFault, field
from vlbench.data.readers.video import Record, VideoReader


class VideoQuestions(VideoReader):
    """Multiple-choice questions about clips with subtitles."""

    choices: ClassVar[int]
    """Choices of a question."""

    def items(self, record: Record, clip: str, spoken: str) -> Iterator[Example]:
        """The one question."""
        question = field(record, "q", str).strip()
        texts = [field(record, f"a{i}", str).strip(". ") for i in range(self.choices)]
        right = field(record, "answer_idx", int)
        if right not in range(self.choices):
            raise RecordFault(f"'answer_idx' should be 0 to {self.choices - 1}, found {right}")
        choices = " ".join(f"a{i}: {text}." for i, text in enumerate(texts))
        moment = field(record, "ts", str)
        yield Example(
            id=str(field(record, "qid", int)),
            text=f"{spoken} [Q] {question} [TS] ({moment}) [Choices] {choices}",
            images=(clip,),
            targets={f"a{right}": 1.0},
            annotation={**record, "label": f"a{right}"},
            family=record.get("show_name", ""),
        )


class TVQA(VideoQuestions):
    """Five choices, about six television shows; the questions of a show are a family."""

    annotations = "tvqa/tvqa_{split}.jsonl"
    subtitles = "tv_subtitles.jsonl"
    choices = 5


class How2QA(VideoQuestions):
    """Four choices, about instructional videos.

    VALUE's files only: the first release, in CSV, has other questions and the right choice last.
    """

    annotations = "how2qa/how2qa_{split}_release.jsonl"
    subtitles = "how2_subtitles.jsonl"
    choices = 4
