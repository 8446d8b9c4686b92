from __future__ import annotations

import subprocess
import sys

import pytest

from vlbench.data.readers import READERS, load_reader
from vlbench.errors import UsageError


@pytest.mark.parametrize("name", READERS)
def test_every_reader_of_the_table_loads_and_names_its_files(name, tmp_path) -> None:
    reader = load_reader(name, tmp_path)
    for split in reader.splits:
        assert reader.missing_files(split) == reader.files(split) != []


def test_an_unknown_reader_is_refused_with_the_nearest_name(tmp_path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'vqav2'"):
        load_reader("vqa2", tmp_path)


def test_an_outside_reader_is_named_by_module_and_class(tmp_path) -> None:
    reader = load_reader("vlbench.data.readers.gqa:GQA", tmp_path)
    assert reader.splits == ("train", "val", "testdev")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere.at_all:Reader", "No module named 'nowhere'"),
        ("vlbench.data.readers.gqa:Gqa", "no attribute 'Gqa'"),
        ("pathlib:Path", "is not a reader"),
    ],
)
def test_what_is_no_reader_is_refused(name, told, tmp_path) -> None:
    with pytest.raises(UsageError, match=told):
        load_reader(name, tmp_path)


def test_an_unknown_split_is_refused(coco) -> None:
    with pytest.raises(UsageError, match=r"COCO has no split 'valid'. Did you mean 'val'"):
        load_reader("coco", coco.folder).read("valid")


def test_readers_do_not_import_torch() -> None:
    code = "import sys\nfrom pathlib import Path\nfrom vlbench.data.readers import *\n"
    code += "[load_reader(name, Path()) for name in READERS]\nimport vlbench.data.check\n"
    code += "assert not {'torch', 'transformers', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
