"""Archives from anywhere: what is not a plain file of a run is refused, and nothing is left."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from vlbench.errors import DataError
from vlbench.verifying import archive
from vlbench.verifying.archive import unpack

KEY = "0123456789abcdef"
GOOD = f"runs/{KEY}/spec.json"
NAMES = {
    "an absolute path": f"/runs/{KEY}/spec.json",
    "a way up": f"runs/{KEY}/../../../spec.json",
    "a way up from predictions": f"runs/{KEY}/predictions/../spec.json",
    "a drive": f"C:/runs/{KEY}/spec.json",
    "a backslash": f"runs\\{KEY}\\spec.json",
    "another folder": f"other/{KEY}/spec.json",
    "a key that is none": "runs/latest/spec.json",
    "a key of another length": f"runs/{KEY}0/spec.json",
    "a file that no run has": f"runs/{KEY}/setup.py",
    "a pickle": f"runs/{KEY}/checkpoint.pkl",
    "a checkpoint": f"runs/{KEY}/checkpoint/step-000000001-0123456789abcdef.pt",
    "a lock": f"runs/{KEY}/lock",
    "a hidden file": f"runs/{KEY}/predictions/.vqav2.parquet",
    "a folder of predictions within": f"runs/{KEY}/predictions/a/b.parquet",
    "a line break": f"runs/{KEY}/predictions/a\nb.parquet",
    "nothing": "",
}
Pack = Callable[[Path, dict[str, bytes]], Path]


def make_zip(place: Path, files: dict[str, bytes]) -> Path:
    file = place / "runs.zip"
    with zipfile.ZipFile(file, "w") as made:
        for name, content in files.items():
            made.writestr(zipfile.ZipInfo(name), content)
    return file


def make_tar(place: Path, files: dict[str, bytes]) -> Path:
    file = place / "runs.tar.gz"
    with tarfile.open(file, "w:gz") as made:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return file


both = pytest.mark.parametrize("pack", [make_zip, make_tar], ids=["zip", "tar"])


def refused(file: Path, place: Path, words: str) -> None:
    """The archive is refused in these words; nothing is written outside the folder."""
    before = sorted(place.rglob("*"))
    with pytest.raises(DataError, match=words) as error:
        unpack(file, place / "new")
    assert str(file) in str(error.value)
    left = [path for path in sorted(place.rglob("*")) if (place / "new") not in path.parents]
    assert [path for path in left if path != place / "new"] == before


@both
def test_files_of_runs_are_unpacked(pack: Pack, tmp_path: Path) -> None:
    files = {
        GOOD: b"{}",
        f"runs/{KEY}/predictions/easy-vqa.parquet": b"PAR1",
        f"runs/{KEY[::-1]}/SHA256SUMS": b"",
    }
    runs = unpack(pack(tmp_path, files), tmp_path / "new")
    assert [run.name for run in runs] == [KEY, KEY[::-1]]
    assert {
        path.relative_to(tmp_path / "new").as_posix(): path.read_bytes()
        for path in (tmp_path / "new").rglob("*")
        if path.is_file()
    } == files


@both
@pytest.mark.parametrize("what", NAMES)
def test_a_name_that_no_file_of_a_run_has_is_refused(pack: Pack, what: str, tmp_path: Path) -> None:
    file = pack(tmp_path, {GOOD: b"{}", NAMES[what]: b"x"})
    refused(file, tmp_path, "is not a file of a run|is no plain (file|name)")


TYPES = {
    "a symbolic link": tarfile.SYMTYPE,
    "a hard link": tarfile.LNKTYPE,
    "a character device": tarfile.CHRTYPE,
    "a block device": tarfile.BLKTYPE,
    "a pipe": tarfile.FIFOTYPE,
    "a folder": tarfile.DIRTYPE,
    "a sparse file": tarfile.GNUTYPE_SPARSE,
    "a contiguous file": tarfile.CONTTYPE,
}


@pytest.mark.parametrize("what", TYPES)
def test_a_member_of_a_tar_that_is_no_plain_file_is_refused(what: str, tmp_path: Path) -> None:
    file = tmp_path / "runs.tar.gz"
    with tarfile.open(file, "w:gz", format=tarfile.GNU_FORMAT) as made:
        info = tarfile.TarInfo(GOOD)
        info.type, info.linkname = TYPES[what], "/etc/passwd"
        made.addfile(info)
    refused(file, tmp_path, "is no plain file")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFDIR])
def test_a_member_of_a_zip_that_is_no_plain_file_is_refused(mode: int, tmp_path: Path) -> None:
    file = tmp_path / "runs.zip"
    with zipfile.ZipFile(file, "w") as made:
        info = zipfile.ZipInfo(GOOD)
        info.create_system, info.external_attr = 3, (mode | 0o777) << 16
        made.writestr(info, "/etc/passwd")
    refused(file, tmp_path, "is no plain file")


@both
def test_a_file_that_is_there_twice_is_refused(pack: Pack, tmp_path: Path) -> None:
    with pytest.warns(UserWarning) if pack is make_zip else io.StringIO():
        file = tmp_path / "runs"
        if pack is make_zip:
            with zipfile.ZipFile(file, "w") as made:
                for _ in range(2):
                    made.writestr(GOOD, b"{}")
        else:
            with tarfile.open(file, "w:gz") as tar:
                for _ in range(2):
                    tar.addfile(tarfile.TarInfo(GOOD))
    refused(file, tmp_path, "is there twice")


@both
def test_names_that_some_file_systems_hold_for_one_are_refused(pack: Pack, tmp_path: Path) -> None:
    start = f"runs/{KEY}/predictions"
    file = pack(tmp_path, {f"{start}/A.parquet": b"1", f"{start}/a.parquet": b"2"})
    refused(file, tmp_path, "is there twice")


@both
def test_an_archive_that_unpacks_to_far_more_than_it_is_is_refused(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "FREE_BYTES", 1 << 10)
    file = tmp_path / "runs"
    content = bytes(1 << 20)
    if pack is make_zip:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr(GOOD, content)
    else:
        file = pack(tmp_path, {GOOD: content})
    assert file.stat().st_size < 4096
    refused(file, tmp_path, "unpacks to more than 50 times its size")
    assert not list((tmp_path / "new").rglob("*.json"))


@both
def test_a_file_that_is_too_large_is_refused(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MOST_BYTES", 10)
    refused(pack(tmp_path, {GOOD: bytes(11)}), tmp_path, "has 11 bytes, 10 at the most")


@both
def test_too_many_files_are_refused(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MOST_FILES", 3)
    files = {f"runs/{KEY}/predictions/t{n}.parquet": b"" for n in range(4)}
    refused(pack(tmp_path, files), tmp_path, "more than 3 files")


def test_a_header_of_a_tar_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo(GOOD)
    info.pax_headers = {"comment": "x" * (1 << 22)}
    file = tmp_path / "runs.tar.gz"
    with tarfile.open(file, "w:gz", format=tarfile.PAX_FORMAT) as made:
        made.addfile(info)
    refused(file, tmp_path, "headers of its files are too long")


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    file = make_zip(tmp_path, {GOOD: b"{}"})
    content = bytearray(file.read_bytes())
    content[6] |= 1  # the flag in the file's own header
    content[content.index(b"PK\1\2") + 8] |= 1  # and in the directory
    file.write_bytes(content)
    refused(file, tmp_path, "is encrypted")


def test_a_zip_whose_sizes_lie_is_refused(tmp_path: Path) -> None:
    file = make_zip(tmp_path, {GOOD: b"{} and more"})
    content = bytearray(file.read_bytes())
    start = content.index(b"PK\1\2")
    content[start + 24 : start + 28] = (5).to_bytes(4, "little")
    file.write_bytes(content)
    refused(file, tmp_path, "not a whole archive|has not the")


@both
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_an_archive_that_is_cut_is_refused(pack: Pack, part: float, tmp_path: Path) -> None:
    file = pack(tmp_path, {GOOD: bytes(range(256)) * 40})
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * part)])
    refused(file, tmp_path, "not a whole archive|holds no runs|has not the")


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"hello", gzip.compress(b"hello", mtime=0), b"PK\3\4junk"]
)
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "runs.zip"
    file.write_bytes(content)
    refused(file, tmp_path, "not a .zip or .tar.gz|not a whole archive|holds no runs")


def test_an_archive_without_runs_is_refused(tmp_path: Path) -> None:
    refused(make_zip(tmp_path, {}), tmp_path, "holds no runs")


def test_an_archive_that_is_not_there_is_told(tmp_path: Path) -> None:
    refused(tmp_path / "none.zip", tmp_path, "No such file")


@both
def test_an_archive_with_any_byte_changed_is_whole_or_refused(pack: Pack, tmp_path: Path) -> None:
    files = {GOOD: b"{}", f"runs/{KEY}/predictions/vqav2.parquet": bytes(range(64))}
    file = pack(tmp_path, files)
    content = file.read_bytes()
    random = Random(0)
    for number in range(300):
        changed = bytearray(content)
        for _ in range(random.choice((1, 1, 4))):
            changed[random.randrange(len(changed))] = random.randrange(256)
        file.write_bytes(changed)
        with suppress(DataError):
            unpack(file, tmp_path / f"new{number}")
        outside = [path for path in tmp_path.iterdir() if not path.name.startswith("new")]
        assert outside == [file]
