"""A server on loopback that holds files and misbehaves as it is told."""

from __future__ import annotations

import io
import socket
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Release:
    """Files by path; the rest says how the server misbehaves."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.breaks: dict[str, list[int]] = {}
        """Path -> offsets after which the connections of the next requests break."""
        self.announced: dict[str, int | None] = {}
        """Path -> a length that is not the file's; None: no length at all."""
        self.redirects: dict[str, str] = {}
        self.statuses: dict[str, list[int]] = {}
        """Path -> statuses of the next requests."""
        self.has_ranges = True
        self.version = '"1"'
        """The ETag; empty: none is sent."""
        self.hold: threading.Event | None = None
        """What a connection waits for before it breaks."""
        self.requests: list[tuple[str, str, str]] = []
        """Method, path and range of each request."""
        self.url = ""

    @property
    def ranges(self) -> list[str]:
        """The ranges of the GET requests, in order."""
        return [span for method, _, span in self.requests if method == "GET"]


def handler_of(release: Release) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(has_body=False)

        def do_GET(self) -> None:
            self.answer(has_body=True)

        def answer(self, has_body: bool) -> None:
            self.close_connection = True
            path, span = self.path, self.headers.get("Range", "")
            release.requests.append((self.command, path, span))
            if has_body and release.statuses.get(path):
                return self.status(release.statuses[path].pop(0))
            if path in release.redirects:
                return self.status(302, Location=release.redirects[path])
            if (content := release.files.get(path)) is None:
                return self.status(404)
            start = 0
            marks = (None, release.version)
            if span and release.has_ranges and self.headers.get("If-Range") in marks:
                start = int(span.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    return self.status(416, **{"Content-Range": f"bytes */{len(content)}"})
            length = release.announced.get(path, len(content))
            self.send_response(206 if start else 200)
            if release.version:
                self.send_header("ETag", release.version)
            self.send_header("Connection", "close")
            if length is not None:
                self.send_header("Content-Length", str(length - start))
            if start:
                spelt = f"bytes {start}-{len(content) - 1}/{length}"
                self.send_header("Content-Range", spelt)
            self.end_headers()
            if has_body:
                offsets = release.breaks.get(path)
                end = offsets.pop(0) if offsets else len(content)
                self.wfile.write(content[start:end])
                self.wfile.flush()
                if end < len(content) and release.hold is not None:
                    release.hold.wait(10)
                self.connection.shutdown(socket.SHUT_RDWR)

        def status(self, code: int, **headers: str) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is no error of the test."""


@contextmanager
def serving() -> Iterator[Release]:
    release = Release()
    with Server(("127.0.0.1", 0), handler_of(release)) as server:
        release.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield release
        if release.hold is not None:
            release.hold.set()
        server.shutdown()
        thread.join()


def packed(members: dict[str, bytes]) -> bytes:
    """A ZIP archive of these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()
