"""TVQA and How2QA as VALUE has them: a question about a moment of a clip, and the choices.

The text names the choices, `a0: ... a1: ...`, and the answer is the name of the right one: some
questions have the same choice twice, so its text does not tell which is right. The moment `ts` is
text and stands in the example as it is, `NaN-NaN` and `0-0` too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from vlbench.data.example import Example
from vlbench.data.faults import RecordFault, field
from vlbench.data.readers.video import Record, VideoReader


class VideoQuestions(VideoReader):
    """Multiple-choice questions about clips with subtitles."""

    label = "answer_idx"
    choices: ClassVar[int]
    """Choices of a question."""

    def items(self, record: Record, clip: str, spoken: str) -> Iterator[Example]:
        """The one question."""
        choices = [field(record, f"a{i}", str) for i in range(self.choices)]
        question, moment = field(record, "q", str), field(record, "ts", str)
        targets, label = {}, {}
        if "answer_idx" in record:
            right = field(record, "answer_idx", int)
            if right not in range(self.choices):
                raise RecordFault(f"'answer_idx' should be 0 to {self.choices - 1}, found {right}")
            targets, label = {f"a{right}": 1.0}, {"label": f"a{right}"}
        yield Example(
            id=str(field(record, "qid", int)),
            text=question_text(question, moment, choices),
            images=(clip,),
            targets=targets,
            annotation={**record, **label},
            family=str(record.get("show_name", "")),
            context=spoken,
        )


def question_text(question: str, moment: str, choices: Sequence[str]) -> str:
    """`[Q] ... [TS] (20.16-25.12) [Choices] a0: A cup. a1: ...`, as the authors have it."""
    listed = " ".join(f"a{i}: {choice.strip('. ')}." for i, choice in enumerate(choices))
    return f"[Q] {question.strip()} [TS] ({moment}) [Choices] {listed}"


class TVQA(VideoQuestions):
    """Five choices, about six television shows; the questions of a show are a family."""

    annotations = "tvqa/tvqa_{split}.jsonl"
    tests = ("tvqa/tvqa_test_release.jsonl", "tvqa/tvqa_test_public.jsonl")
    source = "tv"
    feature_places = ("features/{encoder}/tv", "video/vis_features/tv/{authors}")
    choices = 5


class How2QA(VideoQuestions):
    """Four choices, about instructional videos; the first release, in CSV, has other questions."""

    annotations = "how2qa/how2qa_{split}_release.jsonl"
    tests = ("how2qa/how2qa_test_public_release.jsonl",)
    source = "how2"
    feature_places = ("features/{encoder}/how2", "video/vis_features/how2/{authors}")
    choices = 4
