"""Every field of every official file, left out or of another type."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.spoilt import spoilt
from vlbench.data.readers import load_reader
from vlbench.data.table import indexed
from vlbench.errors import DataError
from vlbench.metrics import load_metric

CLIP = {"vid_name": "x_1", "ts": [1.5, 2], "clip_id": 1, "descs": [{"desc_id": 7, "desc": "a dog"}]}
QUESTION = {f"a{n}": f"dog {n}" for n in range(5)} | {
    **{
        "qid": 3,
        "q": "What?",
        "ts": "1-2",
        "vid_name": "x_1",
        "answer_idx": 2,
        "show_name": "House",
    }
}
QUESTIONS = "vqa/v2_OpenEnded_mscoco_val2014_questions.json"
ANSWERS = "vqa/v2_mscoco_val2014_annotations.json"
OFFICIAL = "COCO/annotations/captions_val2014.json"
SEMANTIC = [{"operation": "select", "dependencies": [], "argument": "lamp (06)"}]


@pytest.fixture
def files(vqa: Any, gqa: Any, nlvr2: Any, nlvr: Any, root: Any) -> Any:
    """A data root with a file of every dataset."""
    images = [{"id": 5, "file_name": "COCO_val2014_000000000005.jpg"}]
    captions = [{"id": 8, "image_id": 5, "caption": "a dog"}]
    root.write(OFFICIAL, {"images": images, "annotations": captions})
    root.edit("GQA/val_balanced_questions.json", lambda table: table.pop("1827492"))
    root.edit(
        "GQA/val_balanced_questions.json",
        lambda table: table["01827492"].update(semantic=SEMANTIC, entailed=["7"]),
    )
    for source in ("tv", "how2", "yc2"):
        said = [{"vid_name": "x_1", "sub": [{"text": "Hey.", "start": 1}]}]
        root.lines(f"video/ann/{source}_subtitles.jsonl", said)
    for name in ("tvqa/tvqa_val.jsonl", "how2qa/how2qa_val_release.jsonl"):
        root.lines(f"video/ann/{name}", [QUESTION])
    for name in ("tvc/tvc_val_release.jsonl", "yc2c/yc2c_val_release.jsonl"):
        root.lines(f"video/ann/{name}", [CLIP])
    return root


READ = [
    ("vqav2", "train", QUESTIONS, "vqa"),
    ("vqav2", "train", ANSWERS, "vqa"),
    ("vqav2", "train", "COCO/dataset_coco.json", "vqa"),
    ("coco", "val", "COCO/dataset_coco.json", ""),
    ("coco", "val2014", OFFICIAL, ""),
    ("gqa", "val", "GQA/val_balanced_questions.json", "gqa"),
    ("nlvr2", "dev", "nlvr2/dev.json", "nlvr2"),
    ("nlvr", "train", "nlvr/dev/dev.json", "accuracy"),
    ("tvqa", "val", "video/ann/tvqa/tvqa_val.jsonl", "accuracy"),
    ("tvqa", "val", "video/ann/tv_subtitles.jsonl", "accuracy"),
    ("how2qa", "val", "video/ann/how2qa/how2qa_val_release.jsonl", "accuracy"),
    ("tvc", "val", "video/ann/tvc/tvc_val_release.jsonl", ""),
    ("yc2c", "val", "video/ann/yc2c/yc2c_val_release.jsonl", ""),
]


def load(path: Path) -> tuple[Any, Callable[[Any], str]]:
    """The content, and what writes it as the file has it."""
    text = path.read_text()
    try:
        if "jsonl" in path.name or path.name == "dev.json":
            raise ValueError
        return json.loads(text), json.dumps
    except ValueError:
        lines = [json.loads(line) for line in text.splitlines()]
        return lines, lambda records: "".join(json.dumps(each) + "\n" for each in records)


@pytest.mark.parametrize(("reader", "split", "name", "metric"), READ)
def test_a_field_that_is_missing_or_of_another_type_is_told_by_name(
    files: Any, reader: str, split: str, name: str, metric: str
) -> None:
    path = files / name
    value, written = load(path)
    refused = 0
    for field, is_gone, copy in spoilt(value):
        path.write_text(written(copy))
        try:
            dataset = load_reader(reader, files.folder)
            examples = list(indexed(dataset, split, train=False))
            indexed(dataset, split, train=True)
            dataset.counts(examples)
            if metric:
                gold = {each.id: each.annotation for each in examples}
                right = {each.id: next(iter(each.targets), "") for each in examples}
                load_metric(metric)(gold, right)
        except DataError as error:
            refused += 1
            first = str(error).splitlines()[0]
            if is_gone and "no example of the split" not in first:
                assert first.startswith(f"{path}: ")
                assert f"'{field}' is missing" in first, (first, copy)
        except Exception as error:
            raise AssertionError(f"{field}: {copy}") from error
    assert refused
