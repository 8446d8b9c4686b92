"""How2QA as first released (Li et al., EMNLP 2020, https://arxiv.org/abs/2005.00200), in CSV.

`ROOT/video/ann/how2qa/how2QA_{train,val,test_public}_release.csv`: no header, and in each row the
YouTube id, the moment `[36.5:58.5]`, three wrong answers, the question and the right answer, which
is always the last. Other questions than VALUE's, and about whole videos: its clips, their frames
and features are `how2qa_csv` and go by the YouTube id. It has no subtitles of its own; where
`video/ann/how2qa_csv_subtitles.jsonl` is not there, nothing is said in any video.

The release has no ids: a question is the row it stands in.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

from vlbench.data.faults import Faults, RecordFault, excerpt
from vlbench.data.readers.video import Record
from vlbench.data.readers.video_questions import VideoQuestions
from vlbench.packed_files import open_data

COLUMNS = 7
MOMENT = re.compile(r"\[([^\[\]:]+):([^\[\]:]+)\]")


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
    """The rows of a CSV file that are not empty, each with what messages call it: `line 3`."""
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
    places = order(clip, interval, question)
    listed = [[*wrong, right][place] for place in places]
    return {
        "vid_name": clip,
        "ts": "-".join(each.strip() for each in moment.groups()),
        "qid": number,
        "q": question,
        **{f"a{place}": choice for place, choice in enumerate(listed)},
        "answer_idx": places.index(len(wrong)),
    }


def order(clip: str, interval: str, question: str) -> list[int]:
    """The order of a question's choices: its own and always the same, wherever its row stands."""

    def draw(place: int) -> bytes:
        return hashlib.sha256(f"{clip}\n{interval}\n{question}\n{place}".encode()).digest()

    return sorted(range(How2QACsv.choices), key=draw)
