from __future__ import annotations

import importlib
import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.conftest import Root
from tests.data.mini.builders import TINY, TINY_VIDEO
from vlbench.data import table
from vlbench.data.example import Example
from vlbench.data.mini.write import write_mini
from vlbench.data.mini.write_video import write_video
from vlbench.data.readers import load_reader
from vlbench.data.readers.base import Reader
from vlbench.data.table import ExampleTable, indexed
from vlbench.errors import DataError, MissingError, UsageError

IMAGES = ("vqav2", "gqa", "nlvr2", "coco")
VIDEOS = ("tvqa", "how2qa", "tvc", "yc2c")


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mini")
    write_mini(folder, 0, TINY)
    write_video(folder, 0, TINY_VIDEO)
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The splits that readers read, as they do it."""
    found: list[str] = []
    read = Reader.read

    def counted(self: Reader, split: str, *rest: object) -> list[Example]:
        found.append(split)
        return read(self, split, *rest)

    monkeypatch.setattr(Reader, "read", counted)
    return found


def files(cache: Path) -> list[Path]:
    return sorted((cache / "index").iterdir())


@pytest.mark.parametrize("name", IMAGES + VIDEOS)
def test_an_index_gives_what_the_reader_reads(name: str, mini: Path, cache: Path) -> None:
    reader = load_reader(name, mini)
    splits = [split for split in reader.splits if not reader.missing_files(split)]
    assert len(splits) >= 3
    for split in splits:
        for _ in range(2):
            assert list(indexed(reader, split, False)) == reader.read(split)
        if split != "test" or name in IMAGES:
            assert list(indexed(reader, split, True)) == reader.read_train(split)


def test_a_split_is_read_once(vqa: Root, reads: list[str]) -> None:
    for _ in range(3):
        indexed(load_reader("vqav2", vqa.folder), "val", False)
    assert reads == ["val"]
    indexed(load_reader("vqav2", vqa.folder), "val", True)
    indexed(load_reader("vqav2", vqa.folder), "test", False)
    assert reads == ["val", "val", "test"]


def test_a_changed_file_is_read_anew(vqa: Root, reads: list[str]) -> None:
    reader = load_reader("vqav2", vqa.folder)
    indexed(reader, "val", False)

    def change(table: dict[str, list[dict[str, object]]]) -> None:
        for record in table["questions"]:
            record["question"] = "Changed?"

    vqa.edit("vqa/v2_OpenEnded_mscoco_val2014_questions.json", change)
    assert {example.text for example in indexed(reader, "val", False)} == {"Changed?"}
    vqa.write("vqa/trainval_ans2label.json", {"blue": 0})
    assert {answer for e in indexed(reader, "val", False) for answer in e.targets} == {"blue"}
    assert reads == ["val"] * 3


def test_the_same_files_elsewhere_have_the_same_index(
    vqa: Root, reads: list[str], tmp_path: Path
) -> None:
    indexed(load_reader("vqav2", vqa.folder), "val", False)
    moved = vqa.folder.rename(tmp_path / "moved")
    indexed(load_reader("vqav2", moved), "val", False)
    assert reads == ["val"]


def test_changed_code_reads_anew(
    vqa: Root, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = load_reader("vqav2", vqa.folder)
    indexed(reader, "val", False)
    monkeypatch.setattr(table, "_code", lambda kind: "changed")
    indexed(reader, "val", False)
    assert reads == ["val"] * 2


OUTSIDE = """
from pathlib import Path
from vlbench.data.example import Example
from vlbench.data.readers.base import Reader

class Mine(Reader):
    splits = ("train",)
    def files(self, split):
        return [self.root / "lines.txt"]
    def examples(self, split, faults):
        lines = self.files(split)[0].read_text().splitlines()
        return [Example(line, "TEXT", (line,), {}) for line in lines]
    def image_path(self, image_id):
        return self.root
"""


def test_a_reader_from_elsewhere_is_indexed_by_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lines.txt").write_text("a\nb\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for text in ("first", "second"):
        (tmp_path / "mine.py").write_text(OUTSIDE.replace("TEXT", text))
        importlib.invalidate_caches()
        reader = load_reader("mine:Mine", tmp_path)
        assert [each.text for each in indexed(reader, "train", False)] == [text, text]
        del sys.modules["mine"]


def test_opening_again_imports_neither_torch_nor_pandas(vqa: Root) -> None:
    indexed(load_reader("vqav2", vqa.folder), "train", True)
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from vlbench.data.table import indexed\nfrom vlbench.data.readers import load_reader\n"
        "table = indexed(load_reader('vqav2', Path(sys.argv[1])), 'train', True)\n"
        "assert table.images() and list(table.take([2, 0])) and table.families()\n"
        "assert len(table.image_counts()) == len(table)\n"
        "assert not {'torch', 'pandas'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(vqa.folder)], check=True, timeout=60)


@pytest.mark.parametrize("spoil", ["half", "empty", "other"])
def test_a_damaged_index_is_made_again(spoil: str, vqa: Root, cache: Path) -> None:
    reader = load_reader("vqav2", vqa.folder)
    before = list(indexed(reader, "val", False))
    [file] = files(cache)
    whole = file.read_bytes()
    file.unlink()
    file.write_bytes({"half": whole[: len(whole) // 2], "empty": b"", "other": b"?" * 99}[spoil])
    assert list(indexed(reader, "val", False)) == before
    assert file.read_bytes() == whole


def test_faults_are_told_as_the_reader_tells_them_and_nothing_is_kept(
    vqa: Root, cache: Path
) -> None:
    name = "vqa/v2_mscoco_val2014_annotations.json"
    good = vqa.edit(name, lambda table: table["annotations"][0].pop("answers"))
    reader = load_reader("vqav2", vqa.folder)
    with pytest.raises(DataError) as told:
        reader.read("val")
    with pytest.raises(DataError) as found:
        indexed(reader, "val", False)
    assert str(found.value) == str(told.value)
    good.unlink()
    with pytest.raises(MissingError) as told_missing:
        reader.read("val")
    with pytest.raises(MissingError) as found_missing:
        indexed(reader, "val", False)
    assert str(found_missing.value) == str(told_missing.value)
    with pytest.raises(UsageError, match="has no split 'valid'"):
        indexed(reader, "valid", False)
    assert not (cache / "index").exists()


def test_a_file_that_changes_while_it_is_read_is_refused(
    gqa: Root, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = load_reader("gqa", gqa.folder)
    read = reader.read

    def changed(split: str) -> list[Example]:
        found = read(split)
        gqa.edit("GQA/val_balanced_questions.json", lambda table: table.pop("7"))
        return found

    monkeypatch.setattr(reader, "read", changed)
    with pytest.raises(DataError, match=r"val_balanced_questions\.json: changed while being read"):
        indexed(reader, "val", False)
    assert not (cache / "index").exists()


def test_what_depends_on_more_than_the_files_is_read_each_time(
    nlvr: Root, reads: list[str]
) -> None:
    for _ in range(2):
        table = indexed(load_reader("nlvr", nlvr.folder), "train", True)
        assert list(table) == load_reader("nlvr", nlvr.folder).read_train("train")
    assert reads == ["train"] * 4


def test_pictures_in_sub_folders_are_found_after_an_index(nlvr2: Root) -> None:
    for _ in range(2):
        reader = load_reader("nlvr2", nlvr2.folder)
        for image in indexed(reader, "train", True).images():
            assert reader.image_path(image).parent.name == "38"
        assert reader._directories  # type: ignore[attr-defined]  # and not by looking everywhere


def test_a_cache_that_cannot_be_written_is_told(vqa: Root, cache: Path) -> None:
    cache.mkdir()
    (cache / "index").write_text("no folder")
    with pytest.raises(MissingError, match=r"cache/index.* cannot be written. VLBENCH_CACHE names"):
        indexed(load_reader("vqav2", vqa.folder), "val", False)


def _open(folder: Path) -> list[Example]:
    return list(indexed(load_reader("vqav2", folder), "train", True))


def test_processes_may_write_and_read_one_index_at_once(vqa: Root, cache: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(_open, [vqa.folder] * 4)
    assert found == [load_reader("vqav2", vqa.folder).read_train("train")] * 4
    assert len(files(cache)) == 1


def _ids(table: ExampleTable) -> list[str]:
    return [example.id for example in table]


def test_a_forked_or_new_process_reads_the_same_table(vqa: Root) -> None:
    table = indexed(load_reader("vqav2", vqa.folder), "train", True)
    for way in ("fork", "spawn"):
        with multiprocessing.get_context(way).Pool(1) as pool:
            assert pool.apply(_ids, [table[1:]]) == _ids(table)[1:]


def test_an_index_says_what_json_would(vqa: Root) -> None:
    reader = load_reader("vqav2", vqa.folder)
    given, found = reader.read("test"), indexed(reader, "test", False)
    for one, other in zip(given, found, strict=True):
        assert json.dumps(one.annotation) == json.dumps(other.annotation)
        assert list(one.targets.items()) == list(other.targets.items())
