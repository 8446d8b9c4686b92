"""TVC and YC2C as VALUE has them: descriptions of a moment of a clip, or of a whole clip.

A model is trained on each description, and evaluated with one caption for a `clip_id`, which is
scored against all its descriptions, as VALUE does.
"""

from __future__ import annotations

from collections.abc import Iterator

from vlbench.data.example import Example
from vlbench.data.faults import RecordFault, field
from vlbench.data.readers.video import Record, VideoReader

KEPT = ("vid_name", "clip_id", "ts")
"""What a submission repeats of a record."""


class VideoCaptions(VideoReader):
    """Descriptions of clips with subtitles."""

    label = "descs"

    def text(self, record: Record) -> str:
        """What a model reads beside the subtitles."""
        return ""

    def items(self, record: Record, clip: str, spoken: str) -> Iterator[Example]:
        """One example a clip id; a model may learn any of its descriptions."""
        captions = [caption for _, caption in _descriptions(record)]
        kept: Record = {key: record[key] for key in KEPT if key in record}
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
            split, lambda name, faults: self._examples(name, faults, self._each_description)
        )

    def _each_description(self, record: Record, clip: str, spoken: str) -> Iterator[Example]:
        moment, text = field(record, "clip_id", int), self.text(record)
        for number, caption in _descriptions(record):
            yield Example(f"{moment}-{number}", text, (clip,), {caption: 1.0}, context=spoken)


def _descriptions(record: Record) -> list[tuple[int, str]]:
    """(id, description); none where the record has no such key, as in test splits."""
    if "descs" not in record:
        return []
    found = [
        (field(each, "desc_id", int), field(each, "desc", str))
        for each in field(record, "descs", list)
    ]
    if not found:
        raise RecordFault("no descriptions")
    return found


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
