"""Clips with subtitles, in the files of VALUE (Li et al., 2021, https://arxiv.org/abs/2106.04632).

The context of an example is the subtitles of the whole clip, as they are spelt (HTML entities too),
whatever moment its text is about. VALUE keeps the labels of its test splits to itself: `test` can
only be answered; `held_out` is the labelled test split of generated clips.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from vlbench.data.example import Example, Faults, RecordFault, field
from vlbench.data.readers import base
from vlbench.errors import DataError, MissingError

UNLABELLED = "test"


class VideoReader(base.Reader):
    """Texts about clips: a JSON Lines file per split, and one with the subtitles of all clips."""

    splits: ClassVar[tuple[str, ...]] = ("train", "val", "held_out", UNLABELLED)
    authors_names = {"clip-vit-b32": "clip-vit"}
    release: ClassVar[str]  # the split's file below `video/ann`, with `{split}` in its name
    tests: ClassVar[tuple[str, ...]]  # the first that exists holds the unlabelled test split
    label: ClassVar[str]  # the field that holds what is right
    source: ClassVar[str]  # where the clips come from: `tv`, `how2` or `yc2`

    @abstractmethod
    def to_example(self, record: base.Record) -> Example:
        """The example of a record, without subtitles, and without targets if it has no labels."""

    def files(self, split: str) -> list[Path]:
        folder = self.root / "video" / "ann"
        subtitles = folder / f"{self.source}_subtitles.jsonl"
        if split != UNLABELLED:
            return [folder / self.release.format(split=split), subtitles]
        tests = [folder / name for name in self.tests]
        return [next(filter(Path.is_file, tests), tests[0]), subtitles]

    def examples(self, split: str, faults: Faults) -> base.Examples:
        release, file = self.files(split)
        subtitles: dict[str, str] = {}
        for line, record in base.read_lines(file, faults):
            with faults.of(file, line):
                parts = field(record, "sub", list)
                texts = " ".join(field(part, "text", str).strip() for part in parts)
                subtitles[field(record, "vid_name", str)] = f"[Subs] {texts}"  # the last one holds
        faults.refuse()  # else every record about a faulty clip would be listed too
        for line, example in self._read(release, faults, split != UNLABELLED):
            with faults.of(release, line):
                [clip] = example.images
                if clip not in subtitles:
                    raise RecordFault(f"no subtitles of clip {clip} in {file.name}")
                yield replace(example, context=subtitles[clip])

    def read_annotations(self, path: Path, faults: Faults) -> base.Records:
        return ((example.id, example.annotation) for _, example in self._read(path, faults))

    def image_path(self, image_id: str) -> Path:
        """The folder of a clip's frames, pictures whose names sort in the order of time."""
        folder = self.root / "video" / "frames" / self.source / image_id
        if not folder.is_dir():
            raise MissingError(f"{folder}: no such clip: it should be a folder of frames")
        return folder

    def _read(
        self, path: Path, faults: Faults, is_labelled: bool = True
    ) -> Iterator[tuple[str, Example]]:
        """The examples of a file without subtitles, with what messages call them."""
        seen: set[str] = set()
        for line, record in base.read_lines(path, faults):
            with faults.of(path, line):
                field(record, "vid_name", str)
                example = self.to_example(record)
                if is_labelled and not example.targets:
                    raise RecordFault(f"'{self.label}' is missing: {example.id} has no label")
                base.require_new(example.id, seen, example.id)
                yield line, example


class VideoQuestions(VideoReader):
    """Multiple-choice questions about clips with subtitles.

    The answer is the name of the right choice, as some questions have the same choice twice. The
    moment `ts` is text and stands in the example as it is, `NaN-NaN` and `0-0` too.
    """

    label = "answer_idx"
    choices: ClassVar[int]  # of a question

    def to_example(self, record: base.Record) -> Example:
        """The question as the authors put it: `[Q] ... [TS] (1-2.5) [Choices] a0: A cup.`"""
        choices = [field(record, f"a{i}", str).strip(". ") for i in range(self.choices)]
        listed = " ".join(f"a{i}: {choice}." for i, choice in enumerate(choices))
        question, moment = field(record, "q", str).strip(), field(record, "ts", str)
        right = choice(record, self.label, self.choices) if self.label in record else ""
        return Example(
            id=str(field(record, "qid", int)),
            text=f"[Q] {question} [TS] ({moment}) [Choices] {listed}",
            images=(record["vid_name"],),
            targets={right: 1.0} if right else {},
            annotation={**record, "label": right} if right else record,
            family=str(record.get("show_name", "")),
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
    """Four choices, about instructional videos; not the first release, in CSV, of other ones."""

    release = "how2qa/how2qa_{split}_release.jsonl"
    tests = ("how2qa/how2qa_test_public_release.jsonl",)
    source = "how2"
    feature_places = ("features/{encoder}/how2", "video/vis_features/how2/{authors}")
    choices = 4


class VideoCaptions(VideoReader):
    """Descriptions of clips: each is trained on, one a clip is predicted and scored against all."""

    label = "descs"

    def text(self, record: base.Record) -> str:
        """What a model reads beside the subtitles."""
        return ""

    def to_example(self, record: base.Record) -> Example:
        clip, images, text = field(record, "clip_id", int), (record["vid_name"],), self.text(record)
        if "descs" not in record:
            return Example(str(clip), text, images, {}, record)
        captions = []
        for description in field(record, "descs", list):
            field(description, "desc_id", int)
            captions.append(field(description, "desc", str))
        if not captions:
            raise RecordFault("no descriptions")
        annotation = {**record, "captions": captions}
        return Example(str(clip), text, images, dict.fromkeys(captions, 1.0), annotation)

    def training_examples(self, split: str, faults: Faults) -> base.Examples:
        for clip in self.examples(split, faults):
            for description in clip.annotation.get("descs", ()):
                name, targets = f"{clip.id}-{description['desc_id']}", {description["desc"]: 1.0}
                yield replace(clip, id=name, targets=targets, annotation={})


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
