"""Files that appear whole or not at all, small JSON files, `--out`, gzip, the cache folder.

Written beside under a temporary name, flushed to the disk, then renamed.
"""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import re
import secrets
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import IO, Any

from vlbench.errors import DataError, MissingError, UsageError, system_message

Content = str | bytes | Callable[[Path], object]
"""What a file is to hold; a callable writes it to the path it is given."""
LARGEST_JSON = 1 << 26
"""Bytes of a JSON file or training curve; vlbench writes none that is longer."""
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{10}\.tmp")
FORGOTTEN_SECONDS = 86_400.0
"""A temporary file that is older was left by a process that was killed."""
PACKINGS = {b"PK": "ZIP", b"\xfd7zXZ": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "Zstandard"}
"""How a packed file begins that no reader unpacks -> its packing."""
RATIO = 50
"""An archive may unpack to so many times its size: Parquet, JSON and curves stay far below."""
FREE_BYTES = 1 << 24
"""What any archive may unpack to."""
_guards: dict[Path, Callable[[], None]] = {}
"""Folder -> what raises when this process may no longer write there."""


def write_atomically(path: Path, content: Content, is_flushed: bool = True) -> Path:
    """Write `path` so that readers see the old file or the whole new one; return the final path.

    A callable gets the temporary path, which ends in `.tmp` whatever the format. A path that it
    returns is the final one, for names that depend on the content.
    """
    require_writable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if callable(content):
        remove_forgotten(path.parent)
    beside = temporary_beside(path)
    try:
        if callable(content):
            named = content(beside)
            path = named if isinstance(named, Path) else path
        else:
            beside.write_bytes(content.encode() if isinstance(content, str) else content)
        if is_flushed:
            flush(beside)
        require_writable(path)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    if is_flushed:
        flush(path.parent)
    return path


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Add one line to a JSON Lines file, after closing one that a killed process left torn."""
    require_writable(path)
    with path.open("ab+") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        is_torn = file.read(1) not in (b"", b"\n")
        file.write(("\n" * is_torn + json.dumps(line) + "\n").encode())


def flush(path: Path) -> None:
    """Force a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_small(file: Traversable) -> bytes:
    """Read a file of at most LARGEST_JSON bytes; ValueError for a longer one."""
    with file.open("rb") as content:
        text = content.read(LARGEST_JSON + 1)
    if len(text) > LARGEST_JSON:
        raise ValueError(f"more than {LARGEST_JSON:,} bytes")
    return text


def read_object(file: Traversable, otherwise: str = "cannot be read") -> dict[str, Any]:
    """Read the JSON object in a small file; DataError for anything else."""
    try:
        return parse_object(read_small(file))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{file}: {otherwise}: {reason}") from None


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Parse a JSON object; ValueError for anything else, however deep."""
    try:
        table = json.loads(text)
        json.dumps(table, ensure_ascii=False).encode()  # JSON can spell what is no text
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(table, dict):
        raise ValueError(f"a JSON object was expected, found {type(table).__name__}")
    return table


def text_lines(path: Traversable) -> list[str]:
    """Read the lines of a JSON Lines file; DataError where it is no text, or too long."""
    try:
        return read_small(path).decode().splitlines()
    except ValueError as error:
        raise DataError(f"cannot be read: {error}") from None


def temporary_beside(path: Path) -> Path:
    """Return a hidden name in the same folder that no other process takes, ending in `.tmp`."""
    return path.with_name(f".{path.name}.{secrets.token_hex(5)}.tmp")


def is_temporary(name: str) -> bool:
    """Whether a file's name is one that `temporary_beside` gives."""
    return TEMPORARY.fullmatch(name) is not None


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left below a folder in which nobody writes now."""
    require_writable(folder)
    for file in folder.rglob(".*.tmp"):
        file.unlink(missing_ok=True)


def remove_forgotten(folder: Path) -> None:
    """Remove what killed processes left in `folder` under temporary names, a day ago or more."""
    with suppress(OSError):  # the folder may be absent, or another process removes them too
        for entry in list(os.scandir(folder)):
            age = time.time() - entry.stat(follow_symlinks=False).st_mtime
            if is_temporary(entry.name) and age > FORGOTTEN_SECONDS:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)


@contextmanager
def guarded(folder: Path, check: Callable[[], None]) -> Iterator[None]:
    """Within the block, call `check` before every write in `folder`; it raises to prevent it."""
    _guards[folder] = check
    try:
        yield
    finally:
        _guards.pop(folder, None)


def require_writable(path: Path) -> None:
    """Raise what the guard of a folder that holds `path` raises."""
    for folder, check in list(_guards.items()):
        if folder == path or folder in path.parents:
            check()


def cache_place() -> Path:
    """The cache folder as `VLBENCH_CACHE`, a configuration file or the XDG standard names it."""
    if own := os.environ.get("VLBENCH_CACHE"):
        return Path(own).expanduser().absolute()
    from vlbench.config import load_config

    config = load_config()
    if "cache" in config.values:
        return Path(config.values["cache"])
    home = os.environ.get("XDG_CACHE_HOME", "")  # a relative path counts as unset
    return Path(home if os.path.isabs(home) else Path.home() / ".cache") / "vlbench"


def cache_folder() -> Path:
    """The folder of `cache_place`, made if absent."""
    folder = cache_place()
    with writing_cache():
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def writing_cache() -> Iterator[None]:
    """Explain what the system refuses in the cache: where, why, and how to name another folder."""
    try:
        yield
    except OSError as error:
        raise MissingError(
            f"{system_message(error, cache_place())}: the cache, {cache_place()}, cannot be "
            "written. VLBENCH_CACHE names another place."
        ) from None


def write_out(path: Path, content: Content, option: str = "--out") -> None:
    """Write the file that an option names, whole or not at all; of a link, its target."""
    check_out(path, option)
    with writing(path, option):
        write_atomically(Path(os.path.realpath(path)), content)


def check_out(path: Path, option: str = "--out") -> None:
    """Refuse, before anything is read, a path where no file can be written."""
    with writing(path, option):
        target = Path(os.path.realpath(path))
        if target.exists() and not target.is_file():
            raise OSError(errno.EISDIR, "it is no regular file")
        existing = next(filter(os.path.lexists, target.parents))
        if not existing.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{existing} is a file, no folder")
        if not os.access(existing, os.W_OK):
            raise PermissionError(errno.EACCES, f"no permission to write to {existing}")


@contextmanager
def writing(path: Path, option: str = "--out") -> Iterator[None]:
    """Explain what the system refuses at an option's path: where, why and what to type."""
    try:
        yield
    except OSError as error:
        message = f"{option} {path}: Cannot be written: {error.strerror or error}."
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise MissingError(f"{message} Make room, or name another disk.") from None
        raise UsageError(f"{message} Name another place: {option} PATH") from None


@contextmanager
def open_data(path: Path) -> Iterator[IO[bytes]]:
    """Open a data file, unpacking gzip; DataError names any other packing."""
    with ExitStack() as stack:
        file: Any = stack.enter_context(path.open("rb"))
        try:
            if file.peek(2)[:2] == b"\x1f\x8b":
                file = stack.enter_context(gzip.GzipFile(fileobj=file))
            head = file.peek(6)[:6]
            for beginning, packing in PACKINGS.items():
                if head.startswith(beginning):
                    raise DataError(f"{path}: is packed ({packing}): unpack it first.")
            yield file
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path}: damaged gzip data: {error}") from None


class Budgeted(io.RawIOBase):
    """What a packed file unpacks to, of which no more can be read than its size allows."""

    def __init__(self, source: IO[bytes] | gzip.GzipFile, packed_bytes: int) -> None:
        self._source, self._budget = source, RATIO * packed_bytes + FREE_BYTES

    def read(self, size: int = -1) -> bytes:
        """Read on; DataError where the budget ends."""
        content = self._source.read(size)
        self._budget -= len(content)
        if self._budget < 0:
            raise DataError(f"unpacks to more than {RATIO} times its size")
        return content
