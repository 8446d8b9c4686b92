"""Files that appear complete or not at all, `--out` files, and the cache folder.

Written beside, flushed to the disk, then renamed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vlbench.errors import DataError, MissingError, UsageError, VlbenchError, told_by_system

MOST_LINES = 1 << 26
"""Bytes of a training curve, four times the longest one's."""
Content = str | bytes | Callable[[Path], object]
"""What a file is to hold; a callable writes it to the path it is given."""
LARGEST_JSON = 1 << 26
"""Bytes of a small JSON file; what is longer was not written by vlbench."""
TEMPORARY = re.compile(r"\..+\.(\d+)-([0-9a-f]{6})[0-9a-f]{4}\.tmp")
"""A temporary name: the process that writes it, its machine, and four random digits."""
FORGOTTEN_SECONDS = 86_400.0
"""What another machine left is taken away when nothing was written to it for so long."""
FULL = (errno.ENOSPC, errno.EDQUOT)
DESCRIPTORS = re.compile("/proc/[^/]+/fd")
"""Folders that hold open files under their numbers."""
_guards: ContextVar[Mapping[Path, Callable[[], None]]] = ContextVar(
    "guards", default=MappingProxyType({})
)
"""Folder -> what raises when this thread may no longer write there."""


def write_atomically(path: Path, content: Content, is_flushed: bool = True) -> Path:
    """Write `path` so that readers see the old file or the whole new one, never a part.

    A callable gets the temporary path to write to; its name ends in `.tmp`, so it must not tell the
    format by the suffix. A path that it returns is the final one, for names that tell the content.
    What is only for looking at need not be flushed to the disk. Returns the final path.
    """
    require_writable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if callable(content):  # what takes long may have been killed meanwhile
        remove_dead_beside(path)
    beside = temporary_beside(path)
    try:
        if isinstance(content, str):
            beside.write_text(content, encoding="utf-8", newline="\n")
        elif isinstance(content, bytes):
            beside.write_bytes(content)
        else:
            named = content(beside)
            path = named if isinstance(named, Path) else path
        if is_flushed:
            flush(beside)
        require_writable(path)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    if is_flushed:
        flush(path.parent)
    return path


def text_lines(path: Path) -> list[str]:
    """The lines of a JSON Lines file; DataError where it is no text, or too long for a curve."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_LINES + 1)
        if len(content) > MOST_LINES:
            raise DataError(f"cannot be read: more than {MOST_LINES:,} bytes, which no run writes")
        return content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"cannot be read: not UTF-8 text: {error}") from None


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Add one line to a JSON Lines file; one that was torn before it is closed first."""
    require_writable(path)
    with path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        is_torn = False
        if end:
            file.seek(end - 1)
            is_torn = file.read(1) != b"\n"
        text = json.dumps(line) + "\n"
        file.write((("\n" if is_torn else "") + text).encode())


def temporary_beside(path: Path) -> Path:
    """A hidden name in the same folder that no other process takes, ending in `.tmp`."""
    own = f"{os.getpid()}-{_machine_tag()}{secrets.token_hex(2)}"
    return path.with_name(f".{path.name}.{own}.tmp")


def remove_leftovers(folder: Path) -> None:
    """Take away what killed writers left below a folder in which nobody writes now."""
    require_writable(folder)
    for file in folder.rglob(".*.tmp"):
        file.unlink(missing_ok=True)


def remove_dead_beside(path: Path) -> None:
    """Take away the temporary files and folders that killed processes left beside `path`."""
    remove_dead(path.parent, f".{path.name}.")


def remove_dead(folder: Path, beginning: str = ".") -> None:
    """Take away what killed processes left in `folder` under temporary names that begin so."""
    with suppress(OSError):  # a folder that is not there, or that another process tidies up too
        for entry in list(os.scandir(folder)):
            if entry.name.startswith(beginning) and _is_dead(entry):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)


def is_temporary(name: str) -> bool:
    """Whether a file's name is one that `temporary_beside` gives."""
    return TEMPORARY.fullmatch(name) is not None


def _is_dead(entry: os.DirEntry[str]) -> bool:
    """Whether the process that wrote a temporary file is gone: by its number on this machine."""
    match = TEMPORARY.fullmatch(entry.name)
    if match is None:
        return False
    if match[2] != _machine_tag():
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > FORGOTTEN_SECONDS
    try:
        os.kill(int(match[1]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # somebody else's process
        pass
    return False


@cache
def _machine_tag() -> str:
    """Six hex digits, the same for all processes that see each other by their numbers."""
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{machine()} {space}".encode()).hexdigest()[:6]


def machine() -> str:
    """What is the same for all processes that share this kernel, its locks and its clock."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return socket.gethostname()


@contextmanager
def guarded(folder: Path, check: Callable[[], None]) -> Iterator[None]:
    """While this lasts, have `check` called before anything is written in `folder`.

    It raises when the folder has become somebody else's.
    """
    _guards.set({**_guards.get(), folder: check})
    try:
        yield
    finally:
        _guards.set({path: each for path, each in _guards.get().items() if path != folder})


def require_writable(path: Path) -> None:
    """Raise what the guard of a folder that holds `path` raises."""
    for folder, check in _guards.get().items():
        if folder == path or folder in path.parents:
            check()


def read_small(file: Path) -> bytes:
    """What is in a small file; a ValueError where it is so large that vlbench did not write it."""
    with file.open("rb") as content:
        text = content.read(LARGEST_JSON + 1)
    if len(text) > LARGEST_JSON:
        raise ValueError(f"more than {LARGEST_JSON:,} bytes")
    return text


def read_object(file: Path, otherwise: str = "cannot be read") -> dict[str, Any]:
    """The JSON object in a small file; a DataError where there is anything else."""
    try:
        return parse_object(read_small(file))
    except OSError as error:
        raise DataError(f"{file}: {otherwise}: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{file}: {otherwise}: {error}") from None


def parse_object(text: str | bytes) -> dict[str, Any]:
    """The JSON object in a text; a ValueError for anything else, however deep."""
    try:
        table = json.loads(text)
        json.dumps(table, ensure_ascii=False).encode()  # JSON can spell what is no text
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(table, dict):
        raise ValueError(f"a JSON object was expected, found {type(table).__name__}")
    return table


def flush(path: Path) -> None:
    """Force a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cache_folder() -> Path:
    """The folder as `cache_place` finds it; made if absent."""
    folder, _ = cache_place()
    with writing_cache():
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def writing_cache() -> Iterator[None]:
    """Tell what the system refuses in the cache in one sentence: where, why, and another place."""
    try:
        yield
    except OSError as error:
        folder, source = cache_place()
        raise MissingError(
            f"{told_by_system(error, folder)}: the cache, {folder} ({source}), cannot be written. "
            "VLBENCH_CACHE names another place."
        ) from None


def cache_place() -> tuple[Path, str]:
    """`VLBENCH_CACHE`, else `cache` of a configuration file, else `XDG_CACHE_HOME/vlbench`, else
    `~/.cache/vlbench`; and what says so."""
    own = os.environ.get("VLBENCH_CACHE")
    if own:
        return Path(own).expanduser().absolute(), "VLBENCH_CACHE"
    from vlbench.config import load_config

    config = load_config()
    if "cache" in config.values:
        return config.values["cache"], str(config.sources["cache"])
    home = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(home):  # the XDG standard: a relative path counts as unset
        return Path(home) / "vlbench", "XDG_CACHE_HOME"
    return Path.home() / ".cache" / "vlbench", "built-in"


def write_out(path: Path, content: Content, option: str = "--out") -> None:
    """Write the file that an option names, whole or not at all; of a link, its target.

    A pipe or a device gets what is written, and is never replaced.
    """
    with writing(path, option):
        if is_stream(path):
            _pour(path, content)
        else:
            target = Path(os.path.realpath(path))
            remove_dead_beside(target)
            write_atomically(target, content)


def check_out(path: Path, option: str = "--out") -> None:
    """Before anything is read: refuse a place where no file can be written."""
    with writing(path, option):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder is there")
        place = path if is_stream(path) else _nearest_folder(path)
        if not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, f"no permission to write to {place}")


@contextmanager
def writing(path: Path, option: str = "--out") -> Iterator[None]:
    """Tell what the system refuses in one sentence: where, why and what to type."""
    try:
        yield
    except OSError as error:
        raise _refused(path, option, error) from None


def is_stream(path: Path) -> bool:
    """Whether what is written goes on to somebody: a pipe, a device, a descriptor."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or _is_descriptor(path)


def _is_descriptor(path: Path) -> bool:
    """Whether it is an open file by its number, as /dev/stdout is: its beginning may be others'."""
    while path.is_symlink():
        if DESCRIPTORS.fullmatch(os.path.realpath(path.parent)):
            return True
        path = path.parent / os.readlink(path)
    return False


def _pour(path: Path, content: Content) -> None:
    """Write on from where the stream is."""
    with tempfile.TemporaryDirectory() as folder:
        whole = write_atomically(Path(folder) / path.name, content, is_flushed=False)
        with path.open("ab") as stream:
            stream.write(whole.read_bytes())


def _nearest_folder(path: Path) -> Path:
    """The folder to write in, or the one that is there of those it lies in."""
    parents = Path(os.path.realpath(path)).parents
    return next(folder for folder in parents if os.path.lexists(folder))


def _refused(path: Path, option: str, error: OSError) -> VlbenchError:
    file = next((folder for folder in path.parents if os.path.isfile(folder)), None)
    why = f"{file} is a file, no folder" if file else error.strerror or str(error)
    message = f"{option} {path}: Cannot be written: {why}."
    if error.errno in FULL:
        return MissingError(f"{message} Make room, or name a place on another disk: {option} PATH")
    return UsageError(f"{message} Name another place: {option} PATH")
