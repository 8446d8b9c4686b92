"""Unpack members of a ZIP or tar archive that may hold anything: all that are wanted, or none.

A link or a name that leads elsewhere refuses the archive. Files are written beside their final
names under temporary ones and renamed once all are there.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from glob import escape
from pathlib import Path
from threading import Event
from typing import IO, Any, NamedTuple

from vlbench.data.downloads.fetch import CHUNK_BYTES, Stopped
from vlbench.errors import BAD_NAMES, DataError, MissingError
from vlbench.files import (
    FREE_BYTES,
    RATIO,
    Budgeted,
    flush,
    open_data,
    temporary_beside,
)
from vlbench.text import format_bytes

DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError),
    *(NotImplementedError, RuntimeError, ValueError),  # a packing or password that zipfile lacks
)


class Member(NamedTuple):
    """One entry of an archive."""

    name: str
    size: int
    kind: str
    """`file`, `folder`, or what it is else."""
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, targets: Mapping[str, Path], stop: Event) -> None:
    """Write the archive's members to the paths in `targets`; names of folders end in /.

    No other process may unpack to the same paths: what killed ones left there is removed.
    DataError where the archive is not what it should be: then nothing of it is left.
    """
    temporary = {member: temporary_beside(path) for member, path in targets.items()}
    for path in targets.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{escape(path.name)}.*.tmp"):
            _remove(left)
    try:
        written = _write_members(archive, temporary, stop)
        if missing := [member for member in targets if member not in written]:
            raise DataError(f"it holds no {', '.join(missing)}")
        for member, path in targets.items():
            os.replace(temporary[member], path)
            flush(path.parent)
    except DAMAGE as error:
        raise DataError(f"not a whole archive: {error or type(error).__name__}") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_room(archive, f"{error.strerror} while unpacking") from None
        if error.errno in BAD_NAMES or isinstance(error, FileExistsError | NotADirectoryError):
            raise DataError(f"a name in it cannot be written: {error.strerror}") from None
        raise
    finally:
        for path in temporary.values():
            _remove(path)


def _remove(path: Path) -> None:
    """Remove a file, or a folder with all below it, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _write_members(archive: Path, targets: Mapping[str, Path], stop: Event) -> set[str]:
    """Write the wanted members; return which of `targets` came."""
    budget = RATIO * archive.stat().st_size + FREE_BYTES  # of ZIP, which says what it unpacks to
    names: set[str] = set()
    came: set[str] = set()
    wanted_bytes = 0
    with archive.open("rb") as begin:
        is_zip = begin.read(4) in (b"PK\3\4", b"PK\5\6")
    if is_zip:  # whose table of contents says what it needs
        with zipfile.ZipFile(archive) as file:
            infos = [info for info in file.infolist() if _target(info.filename, targets)]
            wanted_bytes = sum(info.file_size for info in infos)
    folder = next(iter(targets.values())).parent
    free = shutil.disk_usage(folder).free
    if wanted_bytes > min(budget, free):
        _refuse_size(wanted_bytes, budget)
        need = f"{format_bytes(wanted_bytes)} are needed to unpack it, {format_bytes(free)} free"
        raise _no_room(archive, need)
    for member in _zip_members(archive) if is_zip else _tar_members(archive):
        _check_name(member)
        target = _target(member.name, targets)
        if target is None or member.kind == "folder":
            continue
        wanted, path = target
        if (name := unicodedata.normalize("NFC", member.name).casefold()) in names:
            raise DataError(f"{member.name!r} is in it twice")
        names.add(name)
        budget -= member.size
        _refuse_size(member.size, budget + member.size)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = member.open()
        if content is None:
            raise DataError(f"{member.name!r} is no plain file")
        with content, path.open("xb") as file:
            while chunk := content.read(CHUNK_BYTES):
                if stop.is_set():
                    raise Stopped
                file.write(chunk)
        if not wanted.endswith("/"):
            flush(path)
        came.add(wanted)
    if any(wanted.endswith("/") for wanted in came):
        os.sync()  # once, instead of for each of a hundred thousand pictures
    return came


def _refuse_size(size: int, budget: int) -> None:
    if size > budget:
        raise DataError(f"it unpacks to more than {RATIO} times its size")


def _no_room(archive: Path, reason: str) -> MissingError:
    return MissingError(
        f"{archive}: {reason}: the archive is kept. Make room, or name a root on another disk"
    )


def _check_name(member: Member) -> None:
    """Refuse what leads out of a folder, and what is neither a file nor a folder."""
    name = member.name
    parts = name.removesuffix("/").split("/")
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or ":" in parts[0]:
        raise DataError(f"{name[:200]!r} in it leads out of its folder")
    if member.kind not in ("file", "folder"):
        raise DataError(f"{name[:200]!r} in it is {member.kind}, no plain file")


def _target(name: str, targets: Mapping[str, Path]) -> tuple[str, Path] | None:
    """The wanted file or folder that a member belongs to, and where it is written."""
    plain = name.removeprefix("./")
    if plain in targets:
        return plain, targets[plain]
    for wanted, path in targets.items():
        if wanted.endswith("/") and plain.startswith(wanted):
            return wanted, path / plain.removeprefix(wanted)
    return None


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            mode = info.external_attr >> 16
            kind = "folder" if info.is_dir() else "file"
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                kind = "a link" if stat.S_ISLNK(mode) else "a device"
            if info.flag_bits & 1:
                kind = "encrypted"
            name = info.orig_filename  # as written: zipfile cuts it at a NUL
            yield Member(name, info.file_size, kind, partial(file.open, info))


def _tar_members(archive: Path) -> Iterator[Member]:
    with open_data(archive) as content:
        budgeted: Any = Budgeted(content, archive.stat().st_size)
        with tarfile.open(fileobj=budgeted, mode="r|") as file:
            for info in file:
                kind = "folder" if info.isdir() else "file"
                if not (info.isdir() or info.isreg()) or info.issparse():
                    kind = "a link" if info.issym() or info.islnk() else "a device"
                yield Member(info.name, info.size, kind, partial(file.extractfile, info))
