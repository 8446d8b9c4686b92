"""One file over HTTP: connections that break, servers that lie, disks that are full, Ctrl-C."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import IO

import pytest

from tests.data.downloads.conftest import CONTENT, Fetcher
from vlbench.data.downloads import fetch
from vlbench.errors import MissingError

TENTHS = [len(CONTENT) * n // 10 for n in range(1, 10)]
A = "/data/a.bin"


def refused(fetcher: Fetcher, *texts: str) -> str:
    """Fetching fails in these words, and nothing has a final name."""
    with pytest.raises(MissingError) as caught:
        fetcher.get()
    message = str(caught.value)
    assert [text for text in texts if text not in message] == [], message
    assert "The official page: https://toy.example/page" in message
    assert not (fetcher.root / "a.bin").exists()
    return message


def test_a_file_that_breaks_at_every_tenth_is_resumed_from_there(fetcher: Fetcher) -> None:
    fetcher.release.breaks[A] = list(TENTHS)
    assert fetcher.add().get() == ["fetched"]
    assert (fetcher.root / "a.bin").read_bytes() == CONTENT
    assert fetcher.release.ranges == ["", *(f"bytes={offset}-" for offset in TENTHS)]
    assert fetcher.left() == ["a.bin"]
    assert "a.bin: it ended after 10,000 of 100,000 bytes; trying again" in fetcher.notes
    fetcher.release.requests.clear()
    assert fetcher.get() == ["here"] and fetcher.release.requests == []


def test_a_server_without_ranges_sends_all_again(fetcher: Fetcher) -> None:
    fetcher.release.has_ranges, fetcher.release.breaks[A] = False, [60_000, 30_000, 90_000]
    assert fetcher.add().get() == ["fetched"]
    assert (fetcher.root / "a.bin").read_bytes() == CONTENT
    assert "a.bin: the server sends it from the start, not the rest" in fetcher.notes


def test_a_connection_that_never_comes_further_ends_it_and_the_same_command_goes_on(
    fetcher: Fetcher,
) -> None:
    fetcher.release.breaks[A] = [50_000] * (fetch.TRIES + 1)
    message = refused(fetcher.add(), "ended after 50,000 of 100,000 bytes", "in 5 attempts")
    assert "The same command goes on with what is missing" in message
    assert [part.stat().st_size for part in fetcher.parts()] == [50_000]
    fetcher.release.breaks.clear()
    fetcher.release.requests.clear()
    assert fetcher.get() == ["fetched"]
    assert fetcher.release.ranges == ["bytes=50000-"]


def test_another_version_on_the_server_is_fetched_from_the_start(fetcher: Fetcher) -> None:
    fetcher.release.breaks[A] = [50_000] * (fetch.TRIES + 1)
    refused(fetcher.add(to="a.bin"))
    fetcher.release.breaks.clear()
    fetcher.release.files[A], fetcher.release.version = CONTENT[::-1], '"2"'
    assert fetcher.get() == ["fetched"]
    assert (fetcher.root / "a.bin").read_bytes() == CONTENT[::-1]


def test_without_version_and_checksum_nothing_is_appended(fetcher: Fetcher) -> None:
    fetcher.release.version, fetcher.release.breaks[A] = "", [50_000] * fetch.TRIES
    refused(fetcher.add(to="a.bin"))
    fetcher.release.files[A] = CONTENT[::-1]
    assert fetcher.get() == ["fetched"]
    assert (fetcher.root / "a.bin").read_bytes() == CONTENT[::-1]
    assert set(fetcher.release.ranges) == {""}


def test_a_checksum_allows_to_go_on_without_a_version(fetcher: Fetcher) -> None:
    fetcher.release.version, fetcher.release.breaks[A] = "", [50_000]
    assert fetcher.add().get() == ["fetched"]
    assert fetcher.release.ranges == ["", "bytes=50000-"]


def test_a_wrong_file_is_removed_with_both_checksums_named(fetcher: Fetcher) -> None:
    fetcher.release.files[A] = b"x" + CONTENT[1:]
    refused(fetcher.add(), "another file came: its sha256 is", fetcher.downloads[0].sha256)
    assert fetcher.left() == []
    fetcher.release.files[A] = CONTENT
    assert fetcher.get() == ["fetched"]


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"\n<!DOCTYPE html><p>Log in", "a web page came instead"), (b"", "an empty file came")],
)
def test_a_web_page_or_nothing_is_no_file(fetcher: Fetcher, content: bytes, text: str) -> None:
    fetcher.release.files[A] = content
    refused(fetcher.add(to="a.bin"), text)
    assert fetcher.left() == []


def test_a_length_that_is_too_large_is_found_out(fetcher: Fetcher) -> None:
    fetcher.release.announced[A] = 120_000
    refused(fetcher.add(), "announced 120,000 bytes and has 100,000")
    assert fetcher.left() == []


def test_a_length_that_is_too_small_is_found_out_by_the_checksum(fetcher: Fetcher) -> None:
    fetcher.release.announced[A] = 90_000
    refused(fetcher.add(), "another file came")
    assert fetcher.left() == []


def test_a_length_that_is_not_the_published_one_ends_it_at_once(fetcher: Fetcher) -> None:
    fetcher.add(to="a.bin", size_bytes=99_999)
    refused(fetcher, "announces 100,000 bytes, 99,999 are published")
    assert fetcher.left() == [] and len(fetcher.release.ranges) == 1


def test_without_any_length_the_published_one_decides(fetcher: Fetcher) -> None:
    fetcher.release.announced[A], fetcher.release.breaks[A] = None, [40_000]
    assert fetcher.add(to="a.bin", size_bytes=len(CONTENT)).get() == ["fetched"]
    (fetcher.root / "a.bin").unlink()
    fetcher.downloads.clear()
    refused(fetcher.add(to="a.bin"), "announces no length, and none is published")


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "ftp://127.0.0.1/a", "http://me:secret@127.0.0.1/a", "data:,a"],
)
def test_redirects_lead_to_plain_http_addresses_only(fetcher: Fetcher, target: str) -> None:
    fetcher.release.redirects[A] = target
    refused(fetcher.add(), target)
    assert fetcher.left() == []
    fetcher.release.redirects[A] = f"{fetcher.release.url}/b"
    fetcher.release.files["/b"] = CONTENT
    assert fetcher.get() == ["fetched"]


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(fetcher: Fetcher) -> None:
    fetcher.release.statuses[A] = [503, 429]
    assert fetcher.add().get() == ["fetched"]
    assert "a.bin: HTTP 503 Service Unavailable; trying again" in fetcher.notes
    fetcher.release.requests.clear()
    fetcher.add("/gone.bin", to="b.bin")
    with pytest.raises(MissingError, match=r"gone\.bin: HTTP 404 Not Found"):
        fetcher.get()
    assert len(fetcher.release.ranges) == 1


def test_a_disk_that_fills_up_keeps_the_part_and_goes_on_later(
    fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = fetch._write

    def quota(file: IO[bytes], chunk: bytes) -> None:
        room = 30_000 - file.tell()
        write(file, chunk[:room])
        if len(chunk) > room:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(fetch, "_write", quota)
        message = refused(fetcher.add(), "No space left on device: 30.0 kB of a.bin are kept")
    assert "Make room, or name a root on another disk" in message
    fetcher.release.requests.clear()
    assert fetcher.get() == ["fetched"]
    assert fetcher.release.ranges == ["bytes=30000-"]


def test_ctrl_c_in_the_middle_leaves_a_part_that_is_resumed(fetcher: Fetcher) -> None:
    fetcher.release.breaks[A], fetcher.release.hold = [30_000], threading.Event()

    def interrupt(*_: int) -> None:
        if fetcher.parts() and fetcher.parts()[0].stat().st_size == 30_000:
            raise KeyboardInterrupt

    fetch_all = fetcher.add()
    with pytest.raises(KeyboardInterrupt):
        fetch_all.get(count=interrupt)
    assert fetcher.notes[-1] == "What has come is kept: the same command goes on with it."
    assert not (fetcher.root / "a.bin").exists()
    fetcher.release.hold.set()
    fetcher.release.requests.clear()
    assert fetcher.get() == ["fetched"]
    assert fetcher.release.ranges == ["bytes=30000-"]
    assert (fetcher.root / "a.bin").read_bytes() == CONTENT


def test_several_files_come_at_once(fetcher: Fetcher, tmp_path: Path) -> None:
    for name in "bcd":
        fetcher.release.files[f"/{name}"] = CONTENT
        fetcher.release.breaks[f"/{name}"] = [10]
        fetcher.add(f"/{name}", to=f"{name}.bin")
    hold = fetcher.release.hold = threading.Event()
    seen: list[int] = []

    def count(done: int, total: int) -> None:
        seen.append(len(fetcher.parts()))
        if seen[-1] == 3:
            hold.set()

    assert fetcher.get(parallel=3, count=count) == ["fetched"] * 3
    assert max(seen) == 3


def test_progress_ends_with_all_that_came_and_repeats_nothing(fetcher: Fetcher) -> None:
    seen: list[tuple[int, int]] = []
    fetcher.add().get(count=lambda *progress: seen.append(progress))
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and len(seen) == len(set(seen))
    assert all(done < total for done, total in seen[:-1])
