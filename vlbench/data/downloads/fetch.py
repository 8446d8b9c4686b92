"""Fetch one file over HTTP, resumed after broken connections and in later calls.

What has come is a part, `train2014.zip.1f0c3a2b.part`; a small file beside it says which version of
the file it is of. A server that sends no ranges, or has another version by now, sends all again; so
does one that names no version of a file whose checksum is not published either.
"""

from __future__ import annotations

import errno
import http.client
import json
import ssl
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path, PurePosixPath
from threading import Event
from typing import IO, Any
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from vlbench import __version__
from vlbench.errors import DataError, MissingError
from vlbench.files import read_object
from vlbench.text import format_bytes

CHUNK_BYTES = 1 << 18
TIMEOUT_SECONDS = 30.0
LOOK_SECONDS = 10.0
"""How long a server may take to announce a size."""
TRIES = 5
"""Attempts in a row that bring no further byte."""
FIRST_WAIT_SECONDS = 1.0
"""Before the second of them; doubled each time."""
TEMPORARY_STATUS = {408, 425, 429, 500, 502, 503, 504}
"""HTTP statuses after which another attempt may work."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
Say = Callable[[str], None]


class BrokenTransferError(Exception):
    """An attempt ended before the file did; the next one may go on."""


class Stopped(Exception):
    """The user ends the command."""


def is_plain_address(url: str) -> bool:
    """Whether an address is of http or https and holds no name and password."""
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc


class _SafeRedirects(request.HTTPRedirectHandler):
    """Follow redirects to http and https only, and from https to https only."""

    def redirect_request(
        self, req: request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> request.Request | None:
        is_downgrade = req.type == "https" and urlsplit(newurl).scheme != "https"
        if is_downgrade or not is_plain_address(newurl):
            fp.close()
            raise DataError(f"{req.full_url}: the server redirects to {newurl}, which is refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(
    url: str, headers: dict[str, str], method: str = "GET", timeout: float = TIMEOUT_SECONDS
) -> http.client.HTTPResponse:
    """Open an address by http or https, through the proxies of the environment."""
    opener = request.OpenerDirector()  # build_opener would add file: and ftp:
    for handler in (
        *(request.ProxyHandler, request.HTTPHandler, request.HTTPSHandler, _SafeRedirects),
        *(request.HTTPErrorProcessor, request.HTTPDefaultErrorHandler, request.UnknownHandler),
    ):
        opener.add_handler(handler())
    opener.addheaders = [("User-Agent", f"vlbench/{__version__}"), ("Accept-Encoding", "identity")]
    asking = request.Request(url, headers=headers, method=method)
    response: http.client.HTTPResponse = opener.open(asking, timeout=timeout)
    return response


def announced_bytes(url: str) -> int | None:
    """The size that the server announces; None where it does not."""
    try:
        with _open(url, {}, "HEAD", LOOK_SECONDS) as response:
            return _number(response.headers.get("Content-Length"))
    except HTTPError as error:
        error.close()
    except (OSError, http.client.HTTPException, DataError):
        pass
    return None  # the transfer itself says what is wrong


def part_of(folder: Path, url: str) -> Path:
    """The part of a file, in the folder of parts; `url` is official, from whatever mirror."""
    return folder / f"{PurePosixPath(url).name}.{sha256(url.encode()).hexdigest()[:8]}.part"


class Transfer:
    """One file on its way into its part."""

    def __init__(
        self,
        url: str,
        part: Path,
        size_bytes: int | None,
        has_checksum: bool,
        stop: Event,
        say: Say,
    ) -> None:
        self.url, self.part, self.published_bytes = url, part, size_bytes
        self._has_checksum = has_checksum
        self.stop, self._say = stop, say
        self.received = part.stat().st_size if part.is_file() else 0
        self._version_file = part.with_suffix(".json")

    @property
    def shown(self) -> str:
        """The file's name, for messages."""
        return PurePosixPath(urlsplit(self.url).path).name

    def remove(self) -> None:
        """Remove the part, of a file that is kept elsewhere."""
        self.part.unlink(missing_ok=True)
        self._version_file.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove a part that is not what it should be."""
        self.remove()
        self.received = 0

    def run(self) -> None:
        """Fetch to the end, as often as the connection breaks and further bytes come."""
        tries, furthest, wait = TRIES, self.received, FIRST_WAIT_SECONDS
        while True:
            try:
                self._attempt()
                return
            except BrokenTransferError as error:
                reason = str(error)
            if self.received > furthest:
                tries, furthest, wait = TRIES, self.received, FIRST_WAIT_SECONDS
            tries -= 1
            if not tries:
                raise MissingError(
                    f"{self.url}: {reason}; no further byte came in {TRIES} attempts"
                )
            self._say(f"{self.shown}: {reason}; trying again")
            if self.stop.wait(wait):
                raise Stopped
            wait *= 2

    def _attempt(self) -> None:
        start, version = self._start(), self._version()
        if start and start == (self.published_bytes or version.get("length")):
            return  # it came whole in an earlier call
        mark, headers = version.get("mark"), {}
        if start and (mark or self._has_checksum):  # else nothing tells whether the rest fits
            headers["Range"] = f"bytes={start}-"
            headers |= {"If-Range": mark} if mark else {}
        try:
            with _open(self.url, headers) as response:
                total = self._begin(response, start)
                self._receive(response, total)
        except HTTPError as error:
            with error:
                self._refused(error, start)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, URLError) and isinstance(error.reason, ssl.SSLError):
                raise MissingError(f"{self.url}: no secure connection: {error.reason}") from None
            reason = error.reason if isinstance(error, URLError) else error
            words = getattr(reason, "strerror", None) or reason or type(error).__name__
            raise BrokenTransferError(f"after {self.received:,} bytes: {words}") from None

    def _version(self) -> dict[str, Any]:
        """What was noted of the server's file: address, mark of its version, length."""
        with suppress(DataError):
            return read_object(self._version_file)
        return {}

    def _start(self) -> int:
        """Bytes to go on from; a part that cannot be of this file is removed."""
        size = self.part.stat().st_size if self.part.is_file() else 0
        if size and self._version().get("url") != self.url:
            self.discard()
            return 0
        self.received = size
        return size

    def _begin(self, response: http.client.HTTPResponse, start: int) -> int | None:
        """Put the part where the answer begins; return the length of the whole file."""
        length = _number(response.headers.get("Content-Length"))
        if start and response.status == 206:
            content_range = response.headers.get("Content-Range", "")
            first, total = _range(content_range)
            if first != start or total != (self._version().get("length") or total):
                self.discard()
                raise BrokenTransferError(f"the server sent another range, {content_range!r}")
        else:
            if start:
                self._say(f"{self.shown}: the server sends it from the start, not the rest")
            self.discard()
            total = length
        if total is None and not (self.published_bytes or response.chunked):
            raise MissingError(f"{self.url}: the server announces no length, and none is published")
        if self.published_bytes and total not in (None, self.published_bytes):
            self.discard()
            raise DataError(
                f"{self.url}: the server announces {total:,} bytes, {self.published_bytes:,} are "
                "published: it is another file"
            )
        mark = response.headers.get("ETag", "")
        if not mark or mark.startswith("W/"):  # weak ones do not promise the same bytes
            mark = response.headers.get("Last-Modified", "")
        noted = {"url": self.url, "mark": mark, "length": total}
        self._on_disk(lambda: self._version_file.write_text(json.dumps(noted), encoding="utf-8"))
        return total or self.published_bytes

    def _receive(self, response: http.client.HTTPResponse, total: int | None) -> None:
        with self._on_disk(lambda: self.part.open("ab", buffering=0)) as file:
            while chunk := response.read1(CHUNK_BYTES):
                self._on_disk(lambda chunk=chunk: _write(file, chunk))  # type: ignore[misc]
                self.received += len(chunk)
                if self.stop.is_set():
                    raise Stopped
                if total is not None and self.received > total:
                    self.discard()
                    raise DataError(f"{self.url}: more than the {total:,} bytes announced came")
        if total is not None and self.received < total:
            raise BrokenTransferError(f"it ended after {self.received:,} of {total:,} bytes")

    def _on_disk(self, write: Callable[[], Any]) -> Any:
        """Write; a disk that is full or refuses ends the transfer, and the part stays."""
        try:
            return write()
        except OSError as error:
            kept = self.part.stat().st_size if self.part.is_file() else 0
            advice = "Make room, or name" if error.errno in NO_ROOM else "Name"
            raise MissingError(
                f"{self.part}: {error.strerror}: {format_bytes(kept)} of {self.shown} are "
                f"kept. {advice} a root on another disk"
            ) from None

    def _refused(self, error: HTTPError, start: int) -> None:
        """Raise what an answer without the file means; return where the part is the whole."""
        if error.code == 416 and start:
            _, total = _range(error.headers.get("Content-Range", ""))
            if start == total == (self.published_bytes or self._version().get("length")):
                return
            length = self._version().get("length")
            if length and total is not None and total < length:
                self.discard()
                raise DataError(
                    f"{self.url}: the server announced {length:,} bytes and has {total:,}"
                )
            self.discard()
            raise BrokenTransferError("the server's file is another one now")
        answer = f"HTTP {error.code} {error.reason}"
        if error.code in TEMPORARY_STATUS:
            raise BrokenTransferError(answer)
        raise MissingError(f"{self.url}: {answer}")


def _write(file: IO[bytes], chunk: bytes) -> None:
    """Write all of a chunk to a file without a buffer."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[file.write(rest) :]


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() else None


def _range(text: str) -> tuple[int | None, int | None]:
    """First byte and length of the whole in `bytes 5-9/10` or `bytes */10`."""
    span, _, total = text.removeprefix("bytes ").partition("/")
    return _number(span.partition("-")[0]), _number(total)
