"""TVC and YC2C as VALUE has them: descriptions of a moment of a clip, or of a whole clip.

One example per description, to train and to evaluate on, as the authors of VL-Adapter have it: its
id is that of clip and description, and the annotation keeps the clip's, which VALUE scores by.
"""

from __future__ import annotations

from collections.abc import Iterator

from vlbench.data.example import Example
from vlbench.data.faults import RecordFault, field
from vlbench.data.readers.video import Record, VideoReader


class VideoCaptions(VideoReader):
    """Descriptions of clips with subtitles."""

    def text(self, record: Record, spoken: str) -> str:
        """What a model reads."""
        return spoken

    def items(self, record: Record, clip: str, spoken: str) -> Iterator[Example]:
        """One example per description."""
        text = self.text(record, spoken)
        moment = field(record, "clip_id", int)
        descriptions = field(record, "descs", list)
        if not descriptions:
            raise RecordFault("no descriptions")
        for each in descriptions:
            caption = field(each, "desc", str)
            yield Example(
                id=f"{moment}-{field(each, 'desc_id', int)}",
                text=text,
                images=(clip,),
                targets={caption: 1.0},
                annotation={"vid_name": clip, "clip_id": moment, "captions": [caption]},
            )


class TVC(VideoCaptions):
    """Moments of television shows; two descriptions each in train, four in val."""

    annotations = "tvc/tvc_{split}_release.jsonl"
    subtitles = "tv_subtitles.jsonl"

    def text(self, record: Record, spoken: str) -> str:
        """The subtitles and the moment, `([35.73, 40.9])`: a list here, and shown as one."""
        return f"{spoken} [TS] ({field(record, 'ts', list)})"


class YC2C(VideoCaptions):
    """Steps of cooking videos, one description each; a clip is a step, so there is no moment."""

    annotations = "yc2c/yc2c_{split}_release.jsonl"
    subtitles = "yc2_subtitles.jsonl"
