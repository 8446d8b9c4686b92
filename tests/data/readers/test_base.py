"""What holds for every reader, and JSON files that are none.

The surprises of the official files (spec/readers_pitfalls.md) are tested beside each reader's
module; grey, palette, CMYK, huge and cut pictures in ../test_images.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.spoilt import spoilt
from vlbench.data.readers import OWN_DATA, READERS, load_reader
from vlbench.data.readers.base import read_list, read_table
from vlbench.data.table import indexed
from vlbench.errors import DataError, UsageError
from vlbench.metrics import load_metric


@pytest.mark.parametrize("name", [name for name in READERS if name not in OWN_DATA])
def test_every_reader_names_its_files_and_where_features_may_lie(name, tmp_path) -> None:
    reader = load_reader(name, tmp_path)
    if reader.needs_root:  # a package may be installed
        for split in reader.splits:
            assert reader.missing_files(split) == reader.files(split) != []
    assert reader.feature_places[0].startswith("features/{encoder}/")  # our own layout first
    for folder in reader.feature_places:
        assert folder.format(encoder="clip-rn101", authors="RN101") != folder


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vqa2", "Did you mean 'vqav2'"),
        ("nowhere.at_all:Reader", "no module named 'nowhere'"),
        ("vlbench.data.readers.gqa:Gqa", "has no 'Gqa'"),
        ("pathlib:Path", "is not a reader"),
    ],
)
def test_what_is_no_reader_is_refused(name, message, tmp_path) -> None:
    with pytest.raises(UsageError, match=message):
        load_reader(name, tmp_path)


def test_an_unknown_split_is_refused(coco) -> None:
    with pytest.raises(UsageError, match=r"COCO has no split 'valid'. Did you mean 'val'"):
        load_reader("coco", coco.folder).read("valid")


def test_readers_do_not_import_torch() -> None:
    code = "import sys\nfrom vlbench.data.readers import READERS, _reader_class\n"
    code += "[_reader_class(name) for name in READERS]\nimport vlbench.data.prepare\n"
    code += "assert not {'torch', 'transformers', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# Every field of every official file, left out or of another type

CLIP = {"vid_name": "x_1", "ts": [1.5, 2], "clip_id": 1, "descs": [{"desc_id": 7, "desc": "a dog"}]}
QUESTION = {f"a{n}": f"dog {n}" for n in range(5)} | {
    **{"qid": 3, "q": "What?", "ts": "1-2", "vid_name": "x_1"},
    **{"answer_idx": 2, "show_name": "House"},
}
SEMANTIC = [{"operation": "select", "dependencies": [], "argument": "lamp (06)"}]


@pytest.fixture
def files(vqa: Any, gqa: Any, nlvr2: Any, nlvr: Any, root: Any) -> Any:
    """A data root with a file of every dataset."""
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
    ("vqav2", "train", "vqa/v2_OpenEnded_mscoco_val2014_questions.json", "vqa"),
    ("vqav2", "train", "vqa/v2_mscoco_val2014_annotations.json", "vqa"),
    ("vqav2", "train", "COCO/dataset_coco.json", "vqa"),
    ("coco", "val", "COCO/dataset_coco.json", ""),
    ("gqa", "val", "GQA/val_balanced_questions.json", "gqa"),
    ("nlvr2", "dev", "nlvr2/dev.json", "nlvr2"),
    ("nlvr", "train", "nlvr/dev/dev.json", "accuracy"),
    ("tvqa", "val", "video/ann/tvqa/tvqa_val.jsonl", "accuracy"),
    ("tvqa", "val", "video/ann/tv_subtitles.jsonl", "accuracy"),
    ("how2qa", "val", "video/ann/how2qa/how2qa_val_release.jsonl", "accuracy"),
    ("tvc", "val", "video/ann/tvc/tvc_val_release.jsonl", ""),
    ("yc2c", "val", "video/ann/yc2c/yc2c_val_release.jsonl", ""),
]


@pytest.mark.parametrize(("reader", "split", "name", "metric"), READ)
def test_a_field_that_is_missing_or_of_another_type_is_named(
    files: Any, reader: str, split: str, name: str, metric: str
) -> None:
    path = files / name
    is_lines = "jsonl" in name or path.name == "dev.json"
    text = path.read_text()
    value = [json.loads(line) for line in text.splitlines()] if is_lines else json.loads(text)
    write: Callable[[str, Any], object] = files.lines if is_lines else files.write
    refused = 0
    for field, is_gone, copy in spoilt(value):
        write(name, copy)
        try:
            dataset = load_reader(reader, files.folder)
            examples = list(indexed(dataset, split, train=False))
            indexed(dataset, split, train=True)
            if metric:
                gold = {example.id: example.annotation for example in examples}
                right = {example.id: next(iter(example.targets), "") for example in examples}
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


# Lists and objects of records, read without the whole file


def written(folder: Path, text: str) -> Path:
    path = folder / "file.json"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("", "[1,\n2", "not valid JSON: Expecting ',' delimiter: line 2 column 2"),
        ("", '{"a": 1}', 'should be a list, found {"a": 1}'),
        ("", "[" * 100_000, "not valid JSON: maximum recursion depth"),
        ("records", '{"a": 2}', "'records' is missing"),
        ("records", '{"records": "many"}', "'records' should be a list, found \"many\""),
        ("records", "[3]", "should be an object, found [3]"),
    ],
)
def test_what_is_no_list_is_named(tmp_path: Path, key: str, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(DataError) as caught:
        list(read_list(path, key))
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_byte_order_mark_is_none_of_it_and_a_key_that_comes_twice_is_named(
    tmp_path: Path,
) -> None:
    assert list(read_list(written(tmp_path, '\ufeff["\\ud83d"]'))) == ["\ud83d"]
    with pytest.raises(DataError, match="5 is there twice"):
        dict(read_table(written(tmp_path, '{"5": 1, "6": 2, "5": 2}'), "name"))
