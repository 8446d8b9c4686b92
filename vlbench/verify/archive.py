"""Export runs that are done, import runs of others: all of them, verified, or none.

An archive may come from anyone. A member's name must be one that a file of a run has, and what is
unpacked, headers included, has a budget that follows from the archive's own size.
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
from vlbench.runs.spec import RunSpec
from vlbench.runs.sums import NAME, RESULT, WEIGHTS, hash_of, read_sums, result_files
from vlbench.text import results_option
from vlbench.verify.verify import Verified

LOGS = ("status.json", "attempts.jsonl", "log.txt")
"""How a run went: with names of hosts and folders, so only on request."""
RATIO = 50
"""An archive may unpack to so many times its size: Parquet and curves stay far below."""
FREE_BYTES = 1 << 24
"""What any archive may unpack to."""
MEMBER_BYTES = 512
"""What a member counts beside its contents."""
SHOWN = 10
SUFFIXES = (".zip", ".tar.gz")
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can tell; each file of an archive has it."""
MODE = 0o644
_NAME = re.compile(
    r"runs/([0-9a-f]{16})/(predictions/\w[\w.+ -]{0,99}\.parquet|"
    + "|".join(map(re.escape, ("spec.json", "metrics.jsonl", RESULT, WEIGHTS, NAME, *LOGS)))
    + ")"
)
_BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, struct.error),
    *(EOFError, NotImplementedError, RuntimeError, ValueError),
)
"""What the libraries raise of archives that are cut, damaged or of a kind they do not know."""


class _Budgeted(io.RawIOBase):
    """Bytes of a source, of which no more can be read than the budget has left."""

    def __init__(self, source: IO[bytes] | gzip.GzipFile, budget: list[int]) -> None:
        self._source, self._budget = source, budget

    def read(self, size: int = -1) -> bytes:
        content = self._source.read(min(size, 1 << 20) if size >= 0 else 1 << 20)
        _spend(self._budget, len(content))
        return content


def _spend(budget: list[int], size: int) -> None:
    budget[0] -= size
    if budget[0] < 0:
        raise DataError(f"unpacks to more than {RATIO} times its size")


def unpack(file: Path, folder: Path) -> list[Path]:
    """Write the archive's runs below `folder`, which is new; return their folders.

    The first member that is not what it should be ends it with a DataError.
    """
    seen: set[str] = set()
    runs: set[Path] = set()
    try:
        budget = [RATIO * file.stat().st_size + FREE_BYTES]
        for name, size, content in _members(file, budget):
            match = _NAME.fullmatch(name)
            if not match or content is None:
                raise DataError(f"{name[:200]!r} is not a plain file of a run")
            if (alike := unicodedata.normalize("NFC", name).casefold()) in seen:
                raise DataError(f"{name!r} is there twice")
            seen.add(alike)
            _spend(budget, MEMBER_BYTES)
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as copy:
                shutil.copyfileobj(content, copy)
            if target.stat().st_size != size:
                raise DataError(f"{name!r} has not the {size:,} bytes that it says")
            flush(target)
            runs.add(folder / "runs" / match[1])
    except DataError as error:
        raise DataError(f"{file}: {error}: nothing of it was taken.") from None
    except (*_BROKEN, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise DataError(f"{file}: {error.strerror}.") from None
        raise DataError(f"{file}: not a whole archive: {error}: nothing of it was taken.") from None
    if not runs:
        raise DataError(f"{file}: holds no runs.")
    return sorted(runs)


def _members(file: Path, budget: list[int]) -> Iterator[tuple[str, int, IO[bytes] | None]]:
    """Name, size and contents of each member; no contents where it is no plain file."""
    with file.open("rb") as opened:
        start = opened.read(4)
    if start.startswith(b"PK"):
        with zipfile.ZipFile(file) as zipped:
            for info in zipped.infolist():
                is_plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
                with zipped.open(info) as content:
                    source: Any = _Budgeted(content, budget) if is_plain else None
                    yield info.orig_filename, info.file_size, source
    elif start.startswith(b"\x1f\x8b"):
        with gzip.open(file) as unpacked:
            limited: Any = _Budgeted(unpacked, budget)
            with tarfile.open(fileobj=limited, mode="r|") as archive:
                for member in archive:
                    is_plain = member.isreg() and not member.issparse()
                    yield (
                        member.name,
                        member.size,
                        archive.extractfile(member) if is_plain else None,
                    )
    else:
        raise DataError("not a .zip or .tar.gz")


def pack(runs: Sequence[Path], out: Path, with_weights: bool, with_logs: bool) -> dict[str, int]:
    """Write the archive; return run -> bytes before packing. What does not fit its sums stays."""
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
    files, sums = result_files(run), read_sums(run)
    if sums is None:
        seal = f"vlbench results seal{results_option(run.parents[1])}"
        raise DataError(f"{run}: no {NAME}: it is of an older vlbench. Write it: {seal}")
    changed = [name for name in files if sums.get(name) != hash_of(run / name)]
    gone = sorted(sums.keys() - {*files, WEIGHTS})
    if changed or gone or RESULT not in files:
        what = ", ".join(changed + gone) or RESULT
        verify = f"vlbench verify{results_option(run.parents[1])}"
        raise DataError(f"{run}: not as {NAME} says: {what}. See more: {verify}")
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
            info.external_attr = (stat.S_IFREG | MODE) << 16
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
    spec = RunSpec.read(run / "spec.json")
    named = [spec.root, spec.backbone_path, spec.init, spec.method_file, *spec.features]
    return [path for path in named if path]


class Merged(NamedTuple):
    """A run of the archive, and what became of it."""

    key: str
    verified: Verified | None
    """None where the same files are there already: nothing is new."""

    @property
    def outcome(self) -> str:
        """In words."""
        return "already there" if self.verified is None else "added"


def merge(
    archive: Path, results: Path, verify: Callable[[Sequence[Path]], Sequence[Verified]]
) -> list[Merged]:
    """Unpack beside, verify what is new, then rename; nothing that is there is changed."""
    remove_dead_beside(results / "import")
    beside = temporary_beside(results / "import")
    try:
        beside.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"{results}: cannot be written: {error.strerror}") from None
    try:
        runs = unpack(archive, beside)
        for run in runs:
            lacking = [name for name in (NAME, RESULT, "spec.json") if not (run / name).is_file()]
            if lacking:
                text = f"{archive}: run {run.name} has no {lacking[0]}"
                raise DataError(f"{text}: nothing of it was taken.")
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


def _refuse_unsound(archive: Path, verified: Sequence[Verified]) -> None:
    """Refuse what does not hold in itself; what merely is otherwise here now may come."""
    lines = [
        f"\n  {run.name} ({run.key}): {fault.text}"
        for run in verified
        for fault in run.findings.faults
        if not fault.is_since
    ]
    if lines:
        more = f"\n  and {len(lines) - SHOWN:,} more" if len(lines) > SHOWN else ""
        text = f"{archive}: {len(lines):,} cells do not hold: nothing of it was taken."
        raise DataError("".join([text, *lines[:SHOWN], more]))


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
        {(name, hash_of(folder / name)) for name in result_files(folder) if name != WEIGHTS}
        for folder in (run, stored)
    )
    if differing := sorted({name for name, _ in coming ^ kept}):
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
            done.append(run.rename(folder / run.name))
        flush(folder)
    except BaseException:
        for stored in done:
            shutil.rmtree(stored, ignore_errors=True)
        raise
