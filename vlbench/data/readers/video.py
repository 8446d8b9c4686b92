"""Clips with subtitles, in the files of VALUE (Li et al., 2021, https://arxiv.org/abs/2106.04632).

The context of an example is the subtitles of the whole clip, in the order of their file and as they
are spelt there (HTML entities too), whatever moment its text is about. VALUE keeps the labels of
its test splits to itself: `test` can be answered, and neither trained on nor scored. `held_out` is
the labelled test split of generated clips.

**TVQA, How2QA**: a question about a moment of a clip, and the choices, `a0: ... a1: ...`; the
answer is the name of the right one: some questions have the same choice twice, so its text does not
identify it. The moment `ts` is text and stands in the example as it is, `NaN-NaN` and `0-0` too.

**TVC, YC2C**: descriptions of a moment of a clip, or of a whole clip. A model is trained on every
description, and evaluated with one caption for a `clip_id`, which is scored against all its
descriptions, as VALUE does.

**How2QA as first released** (Li et al., EMNLP 2020, https://arxiv.org/abs/2005.00200), in CSV:
`ROOT/video/ann/how2qa/how2QA_{train,val,test_public}_release.csv`: no header, and in each row the
YouTube id, the moment `[36.5:58.5]`, three wrong answers, the question and the right answer, which
is always the last. Other questions than VALUE's, and about whole videos: its clips, their frames
and features are `how2qa_csv` and go by the YouTube id. Where `video/ann/how2qa_csv_subtitles.jsonl`
is absent, nothing is said in any video. The release has no ids: a question is the row it stands in.
"""

from __future__ import annotations

import csv
import hashlib
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any, ClassVar

from vlbench.data.example import Example
from vlbench.data.faults import Faults, RecordFault, excerpt, field
from vlbench.data.readers.base import Reader, Record, read_lines
from vlbench.errors import MissingError
from vlbench.files import open_data

UNLABELLED = "test"
SILENT = "[Subs] "
"""The subtitles of a clip in which nothing is said."""
SUBMITTED = ("vid_name", "clip_id", "ts")
"""What a submission repeats of a record of captions."""
COLUMNS = 7
"""Of How2QA's CSV."""
MOMENT = re.compile(r"\[([^\[\]:]+):([^\[\]:]+)\]")


class VideoReader(Reader):
    """Texts about clips: a JSON Lines file per split, and one with the subtitles of all clips."""

    splits: ClassVar[tuple[str, ...]] = ("train", "val", "held_out", UNLABELLED)
    authors_names = {"clip-vit-b32": "clip-vit"}
    annotations: ClassVar[str]
    """The split's file below `video/ann`, with `{split}` in its name."""
    tests: ClassVar[tuple[str, ...]]
    """File names, of which the first that exists holds the unlabelled test split."""
    label: ClassVar[str]
    """The field that holds what is right."""
    source: ClassVar[str]
    """Where the clips come from: `tv`, `how2` or `yc2`."""

    @abstractmethod
    def items(self, record: Record, clip: str, spoken: str) -> Iterator[Example]:
        """The examples of a record to evaluate on; without targets where it has no labels."""

    def files(self, split: str) -> list[Path]:
        """The split's file and the subtitles."""
        folder = self.root / "video" / "ann"
        subtitles = folder / f"{self.source}_subtitles.jsonl"
        if split != UNLABELLED:
            return [folder / self.annotations.format(split=split), subtitles]
        tests = [folder / name for name in self.tests]
        return [next(filter(Path.is_file, tests), tests[0]), subtitles]

    def examples(self, split: str, faults: Faults) -> list[Example]:
        """The items of all records of a split, in their order."""
        return self._examples(split, faults, self.items)

    def records(self, path: Path, faults: Faults) -> Iterator[tuple[str, Any]]:
        """The records of a split's file, with what messages call them."""
        return read_lines(path, faults)

    def _examples(
        self,
        split: str,
        faults: Faults,
        items: Callable[[Record, str, str], Iterator[Example]],
    ) -> list[Example]:
        path, *subtitles = self.files(split)
        spoken: dict[str, str] = {}
        for file in subtitles:
            spoken |= read_subtitles(file, faults)
        faults.refuse()  # else every record about a faulty clip would be listed too
        examples: dict[str, Example] = {}
        for line, record in self.records(path, faults):
            with faults.of(path, line):
                clip = field(record, "vid_name", str)
                if subtitles and clip not in spoken:
                    raise RecordFault(f"no subtitles of clip {clip} in {subtitles[0].name}")
                for example in items(record, clip, spoken.get(clip, SILENT)):
                    if not example.targets and split != UNLABELLED:
                        raise RecordFault(f"'{self.label}' is missing: {example.id} has no label")
                    if example.id in examples:
                        raise RecordFault(f"{example.id} is there twice")
                    examples[example.id] = example
        return list(examples.values())

    def image_path(self, image_id: str) -> Path:
        """The folder of a clip's frames, pictures whose names sort in the order of time."""
        folder = self.root / "video" / "frames" / self.source / image_id
        if not folder.is_dir():
            raise MissingError(f"{folder}: no such clip: it should be a folder of frames")
        return folder


def read_subtitles(path: Path, faults: Faults) -> dict[str, str]:
    """Clip -> `[Subs]` and what is said in it; of two records for a clip the later one holds."""
    spoken = {}
    for line, record in read_lines(path, faults):
        with faults.of(path, line):
            texts = [field(part, "text", str).strip() for part in field(record, "sub", list)]
            spoken[field(record, "vid_name", str)] = SILENT + " ".join(texts)
    return spoken


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


class How2QACsv(VideoQuestions):
    """Four choices, about instructional videos; every split is labelled."""

    splits = ("train", "val", "test_public")
    annotations = "how2qa/how2QA_{split}_release.csv"
    source = "how2qa_csv"
    feature_places = ("features/{encoder}/how2qa_csv",)
    choices = 4

    def files(self, split: str) -> list[Path]:
        """The split's rows, and the subtitles where there are any."""
        rows, subtitles = super().files(split)
        return [rows, subtitles] if subtitles.is_file() else [rows]

    def records(self, path: Path, faults: Faults) -> Iterator[tuple[str, Record]]:
        """The rows as records of VALUE."""
        for position, (line, row) in enumerate(read_rows(path, faults)):
            with faults.of(path, line):
                record = as_record(position, row)
                yield line, record


def read_rows(path: Path, faults: Faults) -> Iterator[tuple[str, list[str]]]:
    """The rows of a CSV file that are not empty, with what messages call them: `line 3`."""
    with (
        open_data(path) as data,
        TextIOWrapper(data, encoding="utf-8-sig", newline="") as file,
    ):
        rows = csv.reader(file)
        try:
            for row in rows:
                if row:
                    yield f"line {rows.line_num}", row
        except (csv.Error, UnicodeDecodeError) as error:
            faults.add(path, "", f"not valid CSV behind line {rows.line_num}: {error}")


def as_record(number: int, row: list[str]) -> Record:
    """A row with its choices in their order, as one of VALUE's JSON Lines has it."""
    if len(row) != COLUMNS:
        raise RecordFault(f"should have {COLUMNS} columns, found {len(row)}")
    clip, interval, *wrong, question, right = row
    moment = MOMENT.fullmatch(interval.strip())
    if moment is None:
        raise RecordFault(f"the moment should be [start:end], found {excerpt(interval)}")
    choices = order(clip, interval, question)
    listed = [[*wrong, right][choice] for choice in choices]
    return {
        "vid_name": clip,
        "ts": "-".join(second.strip() for second in moment.groups()),
        "qid": number,
        "q": question,
        **{f"a{i}": choice for i, choice in enumerate(listed)},
        "answer_idx": choices.index(len(wrong)),
    }


def order(clip: str, interval: str, question: str) -> list[int]:
    """The order of a question's choices: pseudo-random, whatever row the question stands in."""

    def draw(choice: int) -> bytes:
        return hashlib.sha256(f"{clip}\n{interval}\n{question}\n{choice}".encode()).digest()

    return sorted(range(How2QACsv.choices), key=draw)


class VideoCaptions(VideoReader):
    """Descriptions of clips with subtitles."""

    label = "descs"

    def text(self, record: Record) -> str:
        """What a model reads beside the subtitles."""
        return ""

    def items(self, record: Record, clip: str, spoken: str) -> Iterator[Example]:
        """One example a clip id; a model may learn any of its descriptions."""
        captions = [caption for _, caption in _descriptions(record)]
        kept: Record = {key: record[key] for key in SUBMITTED if key in record}
        yield Example(
            id=str(field(record, "clip_id", int)),
            text=self.text(record),
            images=(clip,),
            targets=dict.fromkeys(captions, 1.0),
            annotation={**kept, "captions": captions} if captions else kept,
            context=spoken,
        )

    def read_train(self, split: str) -> list[Example]:
        """One example a description."""
        return self._read(
            split, lambda name, faults: self._examples(name, faults, self._by_description)
        )

    def _by_description(self, record: Record, clip: str, spoken: str) -> Iterator[Example]:
        moment, text = field(record, "clip_id", int), self.text(record)
        for number, caption in _descriptions(record):
            yield Example(f"{moment}-{number}", text, (clip,), {caption: 1.0}, context=spoken)


def _descriptions(record: Record) -> list[tuple[int, str]]:
    """(id, description); none where the record has no such key, as in test splits."""
    if "descs" not in record:
        return []
    descriptions = [
        (field(description, "desc_id", int), field(description, "desc", str))
        for description in field(record, "descs", list)
    ]
    if not descriptions:
        raise RecordFault("no descriptions")
    return descriptions


class TVC(VideoCaptions):
    """Moments of television shows; two descriptions each in train, four in val."""

    annotations = "tvc/tvc_{split}_release.jsonl"
    tests = ("tvc/tvc_test_release.jsonl", "tvc/tvc_test_public_release.jsonl")
    source = "tv"
    feature_places = ("features/{encoder}/tv", "video/vis_features/tv/{authors}")

    def text(self, record: Record) -> str:
        """The moment, `[TS] ([35.73, 40.9])`: a list here, and shown as one."""
        return f"[TS] ({field(record, 'ts', list)})"


class YC2C(VideoCaptions):
    """Steps of cooking videos, one description each; a clip is a step, so there is no moment."""

    annotations = "yc2c/yc2c_{split}_release.jsonl"
    tests = ("yc2c/yc2c_test_release.jsonl",)
    source = "yc2"
    feature_places = ("features/{encoder}/yc2", "video/vis_features/yc2/{authors}")
