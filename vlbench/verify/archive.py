"""Export runs that are done, import runs of others: all of them, verified, or none.

An archive may come from anyone: it holds files of runs, only below `runs/`.
Every name must be one that a run's folder can have, every member a plain file; sizes and numbers
have limits that are checked as bytes come, not as the archive says.
"""

from __future__ import annotations

import errno
import gzip
import io
import re
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from vlbench.errors import DataError, UsageError
from vlbench.files import check_out, flush, remove_dead_beside, temporary_beside, write_out
from vlbench.runs.sums import NAME, RESULT, WEIGHTS, hash_of, read_sums, sealed_files
from vlbench.text import results_option
from vlbench.verify.verify import Verified

LOGS = ("status.json", "attempts.jsonl", "log.txt")
"""How a run went: with names of hosts and folders, so only on request."""
MOST_FILES = 100_000
MOST_BYTES = 1 << 30
"""Of a file; weights may have more."""
MOST_WEIGHTS = 1 << 35
RATIO = 50
"""An archive may unpack to so many times its size: Parquet and curves stay far below."""
FREE_BYTES = 1 << 24
"""What any archive may unpack to."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
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
            run, target = _checked_target(member, folder)
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


def _checked_target(member: Member, folder: Path) -> tuple[str, Path]:
    """The run that a member belongs to, and where it is written."""
    match = _RUN.fullmatch(member.name)
    if not match or not (match[2] in _PLAIN or _TASK.fullmatch(match[2])):
        names = ", ".join([*sorted(_PLAIN), "predictions/TASK.parquet"])
        raise DataError(f"{member.name[:200]!r} is not a file of a run: runs/KEY/ holds {names}")
    most = MOST_WEIGHTS if match[2] == WEIGHTS else MOST_BYTES
    if not 0 <= member.size <= most:
        raise DataError(f"{member.name!r} has {member.size:,} bytes, {most:,} at the most")
    return match[1], folder.joinpath(*member.name.split("/"))


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
            faults = {
                "is no plain file": info.filename.endswith("/") or kind not in (0, stat.S_IFREG),
                "is encrypted": info.flag_bits & 0x1,
                "is packed in a way that is not taken": info.compress_type not in METHODS,
                "is no plain name": info.orig_filename != info.filename,
            }
            for fault in (text for text, is_so in faults.items() if is_so):
                raise DataError(f"{info.orig_filename[:200]!r} {fault}")
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
        content = self._source.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise DataError("the headers of its files are too long")
        return content


SUFFIXES = (".zip", ".tar.gz")
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can tell; each file of an archive has it."""
MODE = 0o644


def pack(runs: Sequence[Path], out: Path, with_weights: bool, with_logs: bool) -> dict[str, int]:
    """Write the archive; returns run -> bytes before packing. What does not fit its sums stays."""
    if not out.name.endswith(SUFFIXES):
        raise UsageError(f"--out {out}: the name should end in {' or '.join(SUFFIXES)}.")
    if out.exists():
        raise UsageError(f"--out {out}: there already; nothing is overwritten.")
    check_out(out)
    files = {run: _files(run, with_weights, with_logs) for run in runs}
    members = [(f"runs/{run.name}/{name}", run / name) for run in runs for name in files[run]]
    write = _write_zip if out.name.endswith(".zip") else _write_tar
    write_out(out, lambda beside: write(beside, sorted(members)))
    return {run.name: sum((run / name).stat().st_size for name in files[run]) for run in runs}


def _files(run: Path, with_weights: bool, with_logs: bool) -> list[str]:
    """The names of what is packed of a run, once it is sure that it is what its sums say."""
    files = sealed_files(run)
    sums = read_sums(run)
    if sums is None:
        raise DataError(
            f"{run}: no {NAME}: it is of an older vlbench. "
            f"Write it: vlbench results seal{results_option(run.parents[1])}"
        )
    changed = [name for name in files if sums.get(name) != hash_of(run / name)]
    gone = sorted(sums.keys() - {*files, WEIGHTS})
    if changed or gone or RESULT not in files:
        what = ", ".join(changed + gone) or RESULT
        raise DataError(
            f"{run}: not as {NAME} says: {what}. "
            f"See more: vlbench verify{results_option(run.parents[1])}"
        )
    if with_weights and WEIGHTS not in files:
        raise DataError(f"{run}: no {WEIGHTS}, so --with-weights has nothing to pack.")
    left = [name for name in files if with_weights or name != WEIGHTS]
    return [*left, NAME, *(name for name in LOGS if with_logs and (run / name).is_file())]


def _write_zip(out: Path, members: Sequence[tuple[str, Path]]) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, file in members:
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix, wherever it is made
            info.external_attr = (0o100000 | MODE) << 16
            info.file_size = file.stat().st_size  # so that a large one gets the fields it needs
            with file.open("rb") as source, archive.open(info, "w") as target:
                shutil.copyfileobj(source, target, 1 << 20)


def _write_tar(out: Path, members: Sequence[tuple[str, Path]]) -> None:
    with (
        out.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, file in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode = file.stat().st_size, MODE
            with file.open("rb") as source:
                archive.addfile(info, source)


def machine_paths(run: Path) -> list[str]:
    """The folders and files of this machine that a run's spec names: they are packed with it."""
    from vlbench.runs.spec import RunSpec

    spec = RunSpec.read(run / "spec.json")
    named = [spec.root, spec.backbone_path, spec.init, spec.method_file, *spec.features]
    return [path for path in named if path]


Verify = Callable[[Sequence[Path]], Sequence[Verified]]
SHOWN = 10


class Merged(NamedTuple):
    """A run of the archive, and what became of it."""

    key: str
    verified: Verified | None
    """None where the same files are there already: nothing is new."""

    @property
    def outcome(self) -> str:
        """In words."""
        return "already there" if self.verified is None else "added"


def merge(archive: Path, results: Path, verify: Verify) -> list[Merged]:
    """Unpack beside, verify what is new, then rename; nothing that is there is changed."""
    remove_dead_beside(results / "import")
    beside = temporary_beside(results / "import")
    try:
        beside.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"{results}: cannot be written: {error.strerror}") from None
    try:
        runs = unpack(archive, beside)
        _require_sums(archive, runs)
        new = [run for run in runs if not _is_stored(run, results)]
        verified = {run.key: run for run in verify(new)}
        _refuse_unsound(archive, list(verified.values()))
        _rename(new, results)
    except OSError as error:
        raise UsageError(
            f"{error.filename or results}: {error.strerror}: nothing of {archive} was taken."
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return [Merged(run.name, verified.get(run.name)) for run in runs]


def _require_sums(archive: Path, runs: Sequence[Path]) -> None:
    """Refuse runs without sums, result or spec."""
    for run in runs:
        lacking = [name for name in (NAME, RESULT, "spec.json") if not (run / name).is_file()]
        if lacking:
            raise DataError(
                f"{archive}: run {run.name} has no {lacking[0]}: nothing of it was taken."
            )


def _refuse_unsound(archive: Path, verified: Sequence[Verified]) -> None:
    """Refuse what does not hold in itself; what merely is otherwise here now may come."""
    lines = [
        f"{run.name} ({run.key}): {fault.text}"
        for run in verified
        for fault in run.findings.faults
        if not fault.is_since
    ]
    if lines:
        more = [f"and {len(lines) - SHOWN:,} more"] if len(lines) > SHOWN else []
        text = "\n  ".join([*lines[:SHOWN], *more])
        raise DataError(
            f"{archive}: {len(lines):,} cells do not hold: nothing of it was taken.\n  {text}"
        )


def _is_stored(run: Path, results: Path) -> bool:
    """Whether the same run with the same files is there; one with other files is refused."""
    stored = results / "runs" / run.name
    if not stored.exists():
        return False
    if not (stored / RESULT).is_file():
        raise UsageError(
            f"{stored}: a run of that key is there and is not done: nothing was taken. "
            "Finish or remove it first."
        )
    coming, kept = (  # as the files are, whatever their folders say of them
        {name: hash_of(folder / name) for name in sealed_files(folder)} for folder in (run, stored)
    )
    differing = [
        name
        for name in sorted(coming.keys() | kept.keys())
        if name != WEIGHTS and coming.get(name) != kept.get(name)
    ]
    if differing:
        raise UsageError(
            f"{stored}: a run of that key is there with other files ({', '.join(differing)}): "
            "nothing was taken, as nothing is overwritten."
        )
    return True


def _rename(runs: Sequence[Path], results: Path) -> None:
    """Give the runs their names; where one cannot have it, the others lose theirs again."""
    folder = results / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    done: list[Path] = []
    try:
        for run in runs:
            flush(run)
            stored = folder / run.name
            run.rename(stored)
            done.append(stored)
        flush(folder)
    except BaseException:
        for stored in done:
            shutil.rmtree(stored, ignore_errors=True)
        raise
