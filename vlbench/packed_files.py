"""Open data files that may be packed: gzip is read as it is, other packings are named."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from vlbench.errors import DataError

GZIP = b"\x1f\x8b"
OTHERS = {
    "a ZIP archive": rb"PK\x03\x04",
    "packed by xz": rb"\xfd7zXZ\0",
    "packed by bzip2": rb"BZh[1-9]1AY&SY",
    "packed by Zstandard": rb"\x28\xb5\x2f\xfd",
    "a 7z archive": rb"7z\xbc\xaf",
    "a RAR archive": rb"Rar!\x1a",
    "a tar archive": rb"(?s).{257}ustar",
}
"""What it is -> how it begins."""
SUFFIXES = (".gz", ".zip", ".xz", ".bz2", ".zst", ".tar.gz", ".tgz", ".7z")


@contextmanager
def open_data(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked if gzip packed them; a DataError names another packing."""
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        unpacked: IO[bytes] = file
        try:
            if file.peek(2)[:2] == GZIP:
                zipped = stack.enter_context(gzip.GzipFile(fileobj=file))
                unpacked, head = zipped, zipped.peek(512)  # type: ignore[assignment]
            else:
                head = file.peek(512)
            for what, beginning in OTHERS.items():
                if re.match(beginning, head):
                    raise DataError(f"{path}: is {what}: unpack it and name the file in it.")
            yield unpacked
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path}: damaged gzip data: {error}") from None


def packed_beside(file: Path) -> str:
    """What to add to the name of a missing file that lies there packed."""
    packed = (file.with_name(file.name + suffix) for suffix in SUFFIXES)
    named = next((each.name for each in packed if each.is_file()), None)
    return f" ({named} lies there: unpack it)" if named else ""
