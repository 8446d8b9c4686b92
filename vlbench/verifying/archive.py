"""Unpack an archive of runs that may come from anyone: only files of runs, only below `runs/`.

Every name must be one that a run's folder can have, every member a plain file; sizes and numbers
have limits that are checked as bytes come, not as the archive says.
"""

from __future__ import annotations

import errno
import gzip
import io
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from vlbench.errors import DataError
from vlbench.files import flush
from vlbench.running.sums import NAME, RESULT, WEIGHTS
from vlbench.verifying.packing import LOGS

MOST_FILES = 100_000
MOST_BYTES = 1 << 30
"""Of a file; weights may have more."""
MOST_WEIGHTS = 1 << 35
RATIO = 50
"""An archive may unpack to so many times its size: Parquet and curves stay far below."""
FREE_BYTES = 1 << 24
"""What any archive may unpack to."""
AT_ONCE = 1 << 14
"""Bytes that are read of a tar at a time."""
HEADERS = 1 << 16
"""Bytes that may stand between the contents of two members of a tar, those read ahead included."""
_RUN = re.compile(r"runs/([0-9a-f]{16})/(.+)")
_TASK = re.compile(r"predictions/\w[\w.+ -]{0,99}\.parquet")
_PLAIN = {"spec.json", "metrics.jsonl", RESULT, WEIGHTS, NAME, *LOGS}
_BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, struct.error),
    *(EOFError, NotImplementedError, RuntimeError, ValueError),
)
"""What the libraries raise of archives that are cut, damaged or of a kind they do not know."""


class Member(NamedTuple):
    """One file of an archive."""

    name: str
    size: int
    content: IO[bytes]


def unpack(file: Path, folder: Path) -> list[Path]:
    """Write the archive's runs below `folder`, which is new; returns their folders.

    The first member that is not what it should be ends it with a DataError.
    """
    most = RATIO * _size(file) + FREE_BYTES
    written = 0
    seen: set[str] = set()
    runs: dict[str, Path] = {}
    try:
        for member in _members(file):
            run, target = _place(member, folder)
            if len(seen) >= MOST_FILES:
                raise DataError(f"more than {MOST_FILES:,} files")
            if (alike := unicodedata.normalize("NFC", member.name).casefold()) in seen:
                raise DataError(f"{member.name!r} is there twice")
            seen.add(alike)
            written += member.size
            if written > most:
                raise DataError(f"unpacks to more than {RATIO} times its size")
            _write(member, target)
            runs[run] = folder / "runs" / run
    except DataError as error:
        raise DataError(f"{file}: {error}: nothing of it was taken.") from None
    except (*_BROKEN, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # of the disk; a place before the begin of a file is the archive's fault
        raise DataError(f"{file}: not a whole archive: {error}: nothing of it was taken.") from None
    if not runs:
        raise DataError(f"{file}: holds no runs.")
    return [runs[run] for run in sorted(runs)]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}.") from None


def _place(member: Member, folder: Path) -> tuple[str, Path]:
    """The run that a member belongs to, and where it is written."""
    match = _RUN.fullmatch(member.name)
    if not match or not (match[2] in _PLAIN or _TASK.fullmatch(match[2])):
        raise DataError(
            f"{member.name[:200]!r} is not a file of a run: runs/KEY/ holds {', '.join(_listed())}"
        )
    most = MOST_WEIGHTS if match[2] == WEIGHTS else MOST_BYTES
    if not 0 <= member.size <= most:
        raise DataError(f"{member.name!r} has {member.size:,} bytes, {most:,} at the most")
    return match[1], folder.joinpath(*member.name.split("/"))


def _listed() -> list[str]:
    return [*sorted(_PLAIN), "predictions/TASK.parquet"]


def _write(member: Member, target: Path) -> None:
    """Exactly as many bytes as the archive said."""
    target.parent.mkdir(parents=True, exist_ok=True)
    left = member.size
    with target.open("xb") as file:
        while part := member.content.read(min(1 << 20, left + 1)):
            left -= len(part)
            if left < 0:
                break
            file.write(part)
    if left:
        raise DataError(f"{member.name!r} has not the {member.size:,} bytes that it says")
    flush(target)


def _members(file: Path) -> Iterator[Member]:
    with file.open("rb") as content:
        start = content.read(4)
    if start.startswith(b"PK"):
        return _zip_members(file)
    if start.startswith(b"\x1f\x8b"):
        return _tar_members(file)
    raise DataError("not a .zip or .tar.gz")


def _zip_members(file: Path) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.filename.endswith("/") or kind not in (0, stat.S_IFREG):
                raise DataError(f"{info.filename[:200]!r} is no plain file")
            if info.flag_bits & 0x1:
                raise DataError(f"{info.filename[:200]!r} is encrypted")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DataError(f"{info.filename[:200]!r} is packed in a way that is not taken")
            if info.orig_filename != info.filename:
                raise DataError(f"{info.orig_filename[:200]!r} is no plain name")
            with archive.open(info) as content:
                yield Member(info.filename, info.file_size, content)


def _tar_members(file: Path) -> Iterator[Member]:
    """The members as they come: nothing is looked for behind what has been read."""
    with gzip.open(file) as unpacked:
        limited: Any = _Limited(unpacked)
        with tarfile.open(fileobj=limited, mode="r|", bufsize=AT_ONCE) as archive:
            for info in archive:
                if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or info.issparse():
                    raise DataError(f"{info.name[:200]!r} is no plain file")
                limited.allow(info.size)
                content = archive.extractfile(info)
                assert content is not None
                yield Member(info.name, info.size, content)


class _Limited(io.RawIOBase):
    """Bytes of which no more are read than one member takes: no header fills the memory."""

    def __init__(self, source: gzip.GzipFile) -> None:
        self._source = source
        self._left = HEADERS

    def allow(self, size: int) -> None:
        """A member of that size is next, and the headers of the one after it."""
        self._left = size + HEADERS

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        found = self._source.read(size)
        self._left -= len(found)
        if self._left < 0:
            raise DataError("the headers of its files are too long")
        return found
