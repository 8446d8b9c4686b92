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

import hashlib
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from vlbench.data.example import Example, Faults, RecordFault, excerpt, field
from vlbench.data.readers import base
from vlbench.errors import DataError, MissingError

UNLABELLED = "test"
SILENT = "[Subs] "
"""The subtitles of a clip in which nothing is said."""
SUBMITTED = ("vid_name", "clip_id", "ts")
"""What a submission repeats of a record of captions."""
MOMENT = re.compile(r"\[([^\[\]:]+):([^\[\]:]+)\]")


class VideoReader(base.Reader):
    """Texts about clips: a JSON Lines file per split, and one with the subtitles of all clips."""

    splits: ClassVar[tuple[str, ...]] = ("train", "val", "held_out", UNLABELLED)
    authors_names = {"clip-vit-b32": "clip-vit"}
    release: ClassVar[str]
    """The split's file below `video/ann`, with `{split}` in its name."""
    tests: ClassVar[tuple[str, ...]]
    """File names, of which the first that exists holds the unlabelled test split."""
    label: ClassVar[str]
    """The field that holds what is right."""
    source: ClassVar[str]
    """Where the clips come from: `tv`, `how2` or `yc2`."""

    @abstractmethod
    def to_examples(self, record: base.Record, subtitles: str, for_training: bool) -> base.Examples:
        """The examples of a record; without targets where it has no labels."""

    def files(self, split: str) -> list[Path]:
        folder = self.root / "video" / "ann"
        subtitles = folder / f"{self.source}_subtitles.jsonl"
        if split != UNLABELLED:
            return [folder / self.release.format(split=split), subtitles]
        tests = [folder / name for name in self.tests]
        return [next(filter(Path.is_file, tests), tests[0]), subtitles]

    def examples(self, split: str, faults: Faults, for_training: bool = False) -> base.Examples:
        release, *subtitles = self.files(split)
        return self._read(release, faults, subtitles, split != UNLABELLED, for_training)

    def read_annotations(self, path: Path, faults: Faults) -> base.Records:
        return ((example.id, example.annotation) for example in self._read(path, faults))

    def image_path(self, image_id: str) -> Path:
        """The folder of a clip's frames, pictures whose names sort in the order of time."""
        folder = self.root / "video" / "frames" / self.source / image_id
        if not folder.is_dir():
            raise MissingError(f"{folder}: no such clip: it should be a folder of frames")
        return folder

    def _records(self, path: Path, faults: Faults) -> Iterator[tuple[str, Any]]:
        """The records of a release file, with what messages call them."""
        return base.read_lines(path, faults)

    def _read(
        self,
        path: Path,
        faults: Faults,
        subtitles: Sequence[Path] = (),
        is_labelled: bool = True,
        for_training: bool = False,
    ) -> base.Examples:
        """The examples of a file; without a file of subtitles nothing is said in any clip."""
        spoken: dict[str, str] = {}
        for file in subtitles:
            for line, record in base.read_lines(file, faults):
                with faults.of(file, line):
                    parts = field(record, "sub", list)
                    texts = " ".join(field(part, "text", str).strip() for part in parts)
                    spoken[field(record, "vid_name", str)] = SILENT + texts  # the later one holds
        faults.refuse()  # else every record about a faulty clip would be listed too
        seen: set[str] = set()
        for line, record in self._records(path, faults):
            with faults.of(path, line):
                clip = field(record, "vid_name", str)
                if subtitles and clip not in spoken:
                    raise RecordFault(f"no subtitles of clip {clip} in {subtitles[0].name}")
                for example in self.to_examples(record, spoken.get(clip, SILENT), for_training):
                    if is_labelled and not example.targets:
                        raise RecordFault(f"'{self.label}' is missing: {example.id} has no label")
                    base.require_new(example.id, seen, example.id)
                    yield example


class VideoQuestions(VideoReader):
    """Multiple-choice questions about clips with subtitles."""

    label = "answer_idx"
    choices: ClassVar[int]
    """Choices of a question."""

    def to_examples(self, record: base.Record, subtitles: str, for_training: bool) -> base.Examples:
        """The one question, as the authors put it: `[Q] ... [TS] (1-2.5) [Choices] a0: A cup.`"""
        choices = [field(record, f"a{i}", str).strip(". ") for i in range(self.choices)]
        listed = " ".join(f"a{i}: {choice}." for i, choice in enumerate(choices))
        question, moment = field(record, "q", str).strip(), field(record, "ts", str)
        right = choice(record, self.label, self.choices) if self.label in record else ""
        yield Example(
            id=str(field(record, "qid", int)),
            text=f"[Q] {question} [TS] ({moment}) [Choices] {listed}",
            images=(record["vid_name"],),
            targets={right: 1.0} if right else {},
            annotation={**record, "label": right} if right else record,
            family=str(record.get("show_name", "")),
            context=subtitles,
        )

    def read_annotations(self, path: Path, faults: Faults) -> base.Records:
        """The labelled records of a release file, or the labels of TVQA's solution file."""
        solution: object = None
        with suppress(DataError):  # JSON Lines are no JSON
            solution = dict(base.read_table(path, "name")).get("solution")
        if not isinstance(solution, dict):
            yield from super().read_annotations(path, faults)
            return
        for show in solution:
            with faults.of(path, show):
                for question in (answers := field(solution, show, dict)):
                    yield question, {"label": choice(answers, question, self.choices)}


def choice(record: base.Record, key: str, choices: int) -> str:
    """The name of the choice whose index is under `key`: 3 is `a3`."""
    index = field(record, key, int)
    if index not in range(choices):
        raise RecordFault(f"'{key}' should be 0 to {choices - 1}, found {index}")
    return f"a{index}"


class TVQA(VideoQuestions):
    """Five choices, about six television shows; the questions of a show are a family."""

    release = "tvqa/tvqa_{split}.jsonl"
    tests = ("tvqa/tvqa_test_release.jsonl", "tvqa/tvqa_test_public.jsonl")
    source = "tv"
    feature_places = ("features/{encoder}/tv", "video/vis_features/tv/{authors}")
    choices = 5


class How2QA(VideoQuestions):
    """Four choices, about instructional videos; the first release, in CSV, has other questions."""

    release = "how2qa/how2qa_{split}_release.jsonl"
    tests = ("how2qa/how2qa_test_public_release.jsonl",)
    source = "how2"
    feature_places = ("features/{encoder}/how2", "video/vis_features/how2/{authors}")
    choices = 4


class How2QACsv(VideoQuestions):
    """Four choices, about instructional videos; every split is labelled."""

    splits = ("train", "val", "test_public")
    release = "how2qa/how2QA_{split}_release.csv"
    source = "how2qa_csv"
    feature_places = ("features/{encoder}/how2qa_csv",)
    choices = 4

    def files(self, split: str) -> list[Path]:
        rows, subtitles = super().files(split)
        return [rows, subtitles] if subtitles.is_file() else [rows]

    def _records(self, path: Path, faults: Faults) -> base.Records:
        for position, (line, row) in enumerate(base.read_rows(path, faults)):
            with faults.of(path, line):
                yield line, _as_record(position, row)


def _as_record(number: int, row: list[str]) -> base.Record:
    """A row as a record of VALUE, its choices in a pseudo-random order, the same in any row."""
    if len(row) != 7:
        raise RecordFault(f"should have 7 columns, found {len(row)}")
    clip, interval, *wrong, question, right = row
    moment = MOMENT.fullmatch(interval.strip())
    if moment is None:
        raise RecordFault(f"the moment should be [start:end], found {excerpt(interval)}")

    def draw(choice: int) -> bytes:
        return hashlib.sha256(f"{clip}\n{interval}\n{question}\n{choice}".encode()).digest()

    order = sorted(range(4), key=draw)
    return {
        "vid_name": clip,
        "ts": "-".join(second.strip() for second in moment.groups()),
        "qid": number,
        "q": question,
        **{f"a{i}": [*wrong, right][choice] for i, choice in enumerate(order)},
        "answer_idx": order.index(len(wrong)),
    }


class VideoCaptions(VideoReader):
    """Descriptions of clips with subtitles."""

    label = "descs"

    def text(self, record: base.Record) -> str:
        """What a model reads beside the subtitles."""
        return ""

    def training_examples(self, split: str, faults: Faults) -> base.Examples:
        return self.examples(split, faults, for_training=True)

    def to_examples(self, record: base.Record, subtitles: str, for_training: bool) -> base.Examples:
        """One example a clip id, or a description."""
        clip, images, text = field(record, "clip_id", int), (record["vid_name"],), self.text(record)
        descriptions = [
            (field(description, "desc_id", int), field(description, "desc", str))
            for description in (field(record, "descs", list) if "descs" in record else ())
        ]
        if "descs" in record and not descriptions:
            raise RecordFault("no descriptions")
        if for_training:
            for number, caption in descriptions:
                targets = {caption: 1.0}
                yield Example(f"{clip}-{number}", text, images, targets, context=subtitles)
            return
        annotation: base.Record = {key: record[key] for key in SUBMITTED if key in record}
        if captions := [caption for _, caption in descriptions]:
            annotation["captions"] = captions
        targets = dict.fromkeys(captions, 1.0)
        yield Example(str(clip), text, images, targets, annotation, context=subtitles)


class TVC(VideoCaptions):
    """Moments of television shows; two descriptions each in train, four in val."""

    release = "tvc/tvc_{split}_release.jsonl"
    tests = ("tvc/tvc_test_release.jsonl", "tvc/tvc_test_public_release.jsonl")
    source = "tv"
    feature_places = ("features/{encoder}/tv", "video/vis_features/tv/{authors}")

    def text(self, record: base.Record) -> str:
        """The moment, `[TS] ([35.73, 40.9])`: a list here, and shown as one."""
        return f"[TS] ({field(record, 'ts', list)})"


class YC2C(VideoCaptions):
    """Steps of cooking videos, one description each; a clip is a step, so there is no moment."""

    release = "yc2c/yc2c_{split}_release.jsonl"
    tests = ("yc2c/yc2c_test_release.jsonl",)
    source = "yc2"
    feature_places = ("features/{encoder}/yc2", "video/vis_features/yc2/{authors}")
