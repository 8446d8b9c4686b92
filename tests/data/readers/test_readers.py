"""What holds for every reader, and where the surprises of the image datasets are tested.

| what the official files do                               | tested in             |
|----------------------------------------------------------|-----------------------|
| VQAv2: upper case, spaces, ids of answers stay           | test_vqav2.py         |
| VQAv2: the name tells the folder, the split does not     | test_vqav2.py         |
| VQAv2: no answer is frequent; the empty one is           | test_vqav2.py         |
| VQAv2: authors' labels may be empty, raw answers absent  | test_authors_files.py |
| GQA: leading zeros, `groups` null, numbers as texts      | test_gqa.py           |
| GQA: balanced and all questions, ten files of training   | test_gqa.py           |
| GQA: test questions without answers and types            | test_gqa.py           |
| NLVR2: JSON Lines in .json, labels are strings           | test_nlvr.py          |
| NLVR2: flat or in sub-folders, a JPEG named .png         | test_nlvr.py          |
| NLVR2: the same sentence under several sets              | test_nlvr.py          |
| COCO: six captions, one twice, odd line breaks, restval  | test_coco.py          |
| COCO: results go by cocoid, not by imgid                 | test_coco.py          |
| grey, palette, CMYK, huge and cut pictures               | ../test_images.py     |
| files of a gigabyte                                      | test_json_text.py     |
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from vlbench.data.readers import READERS, load_reader
from vlbench.errors import UsageError


@pytest.mark.parametrize("name", READERS)
def test_every_reader_of_the_table_loads_and_names_its_files(name, tmp_path) -> None:
    reader = load_reader(name, tmp_path)
    if reader.is_packaged:  # may be installed
        return
    for split in reader.splits:
        assert reader.missing_files(split) == reader.files(split) != []


@pytest.mark.parametrize("name", READERS)
def test_every_reader_says_where_features_may_lie_our_own_layout_first(name, tmp_path) -> None:
    places = load_reader(name, tmp_path).feature_places
    assert places and places[0].startswith("features/{encoder}/")
    for place in places:
        assert place.format(encoder="clip-rn101", authors="RN101") != place


def test_features_of_gqa_are_looked_for_with_both_sources_of_pictures(tmp_path) -> None:
    places = load_reader("gqa", tmp_path).feature_places
    assert "VG/clip_features/data_clip_{authors}_att" in places
    assert "GQA/clip_features/data_clip_{authors}_att" in places


def test_an_unknown_reader_is_refused_with_the_nearest_name(tmp_path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'vqav2'"):
        load_reader("vqa2", tmp_path)


def test_an_outside_reader_is_named_by_module_and_class(tmp_path) -> None:
    reader = load_reader("vlbench.data.readers.gqa:GQA", tmp_path)
    assert reader.splits[:3] == ("train", "val", "testdev")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere.at_all:Reader", "no module named 'nowhere'"),
        ("vlbench.data.readers.gqa:Gqa", "has no 'Gqa'"),
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
