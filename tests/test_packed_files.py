from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from vlbench.data.example import Faults
from vlbench.data.readers.base import missing_data, read_lines, read_list, read_rows
from vlbench.errors import DataError
from vlbench.packed_files import open_data

TEXT = b'[{"id": 1},\n{"id": 2}]\n'
READERS: dict[str, Callable[[Path], object]] = {
    "list": lambda path: list(read_list(path)),
    "lines": lambda path: list(read_lines(path, Faults())),
    "csv": lambda path: list(read_rows(path, Faults())),
}


def in_zip(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.json", content)
    return file.getvalue()


def in_tar(content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("a.json")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("text", [TEXT, b"", TEXT * 0 + b"[1]"])
def test_what_gzip_packed_is_read_like_the_file_itself(
    tmp_path: Path, reader: str, text: bytes
) -> None:
    plain, packed = tmp_path / "a.json", tmp_path / "b.json"
    plain.write_bytes(text)
    packed.write_bytes(gzip.compress(text))
    results = []
    for path in (plain, packed):
        try:
            results.append(READERS[reader](path))
        except DataError as error:
            results.append(str(error).replace("b.json", "a.json"))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (in_zip(TEXT), "a ZIP archive"),
        (bz2.compress(TEXT), "packed by bzip2"),
        (lzma.compress(TEXT), "packed by xz"),
        (b"\x28\xb5\x2f\xfd" + TEXT, "packed by Zstandard"),
        (in_tar(TEXT), "a tar archive"),
        (gzip.compress(in_tar(TEXT)), "a tar archive"),
    ],
)
def test_another_packing_is_named(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    for read in READERS.values():
        with pytest.raises(DataError, match=rf"a\.json: is {what}: unpack it"):
            read(path)


@pytest.mark.parametrize("damage", [lambda data: data[:-12], lambda data: data[:-6] + b"x" * 6])
def test_damaged_gzip_data_are_told(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(damage(gzip.compress(TEXT)))
    with pytest.raises(DataError, match=r"a\.json: damaged gzip data"), open_data(path) as file:
        file.read()


def test_a_missing_file_that_lies_there_packed_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.json.gz").write_bytes(b"")
    told = str(missing_data([tmp_path / "a.json", tmp_path / "b.json"]))
    assert told.endswith(
        f"{tmp_path}/a.json (a.json.gz lies there: unpack it)\n  {tmp_path}/b.json"
    )
