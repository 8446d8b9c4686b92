"""Archives from anywhere: unpacked whole below the root, or refused with nothing left."""

from __future__ import annotations

import errno
import io
import stat
import tarfile
import threading
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from tests.data.downloads.conftest import Fetcher
from tests.data.downloads.server import packed
from vlbench.data.downloads import fetch, unpack
from vlbench.errors import DataError, MissingError

GOOD = {"a.json": b"{}", "pictures/1.jpg": b"one", "pictures/sub/2.jpg": b"two", "other": b"x"}
TO = {"a.json": "vqa/a.json", "pictures/": "COCO/images/pictures/"}
FREE = namedtuple("FREE", "total used free")


def tarred(members: dict[str, bytes], mode: str = "w:gz", **link: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in link.items():
            info = tarfile.TarInfo(f"pictures/{name}")
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return buffer.getvalue()


def zip_with_link(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
        for good in GOOD.keys() - {name}:
            archive.writestr(good, GOOD[good])
    return buffer.getvalue()


def served(fetcher: Fetcher, content: bytes) -> Fetcher:
    """The archive on the server; its members go to `TO`."""
    fetcher.release.files["/a.zip"] = content
    return fetcher.add("/a.zip", unpack=TO)


def refused(fetcher: Fetcher, text: str) -> None:
    """The archive is refused in these words; nothing of it is left."""
    with pytest.raises(MissingError) as caught:
        fetcher.get()
    assert text in str(caught.value)
    assert "nothing of it was taken" in str(caught.value)
    assert [name for name in fetcher.left() if (fetcher.root / name).is_file()] == []
    assert {path.name for path in fetcher.root.parent.iterdir()} <= {"root", "cache"}


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar"])
def test_wanted_members_get_their_names_and_the_archive_goes(fetcher: Fetcher, kind: str) -> None:
    dotted = {f"./{name}": content for name, content in GOOD.items()}
    content = {"zip": packed(GOOD), "tar.gz": tarred(dotted), "tar": tarred(GOOD, "w:")}[kind]
    assert served(fetcher, content).get() == ["fetched"]
    files = {name for name in fetcher.left() if (fetcher.root / name).is_file()}
    pictures = "COCO/images/pictures"
    assert files == {"vqa/a.json", f"{pictures}/1.jpg", f"{pictures}/sub/2.jpg"}
    assert (fetcher.root / pictures / "sub/2.jpg").read_bytes() == b"two"


def test_what_is_here_is_not_overwritten_and_the_rest_is_unpacked(fetcher: Fetcher) -> None:
    own = fetcher.root / "vqa/a.json"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    assert served(fetcher, packed(GOOD)).get() == ["fetched"]
    assert own.read_text() == "mine"
    assert (fetcher.root / "COCO/images/pictures/1.jpg").read_bytes() == b"one"


@pytest.mark.parametrize(
    "name",
    [
        "../a.json",
        "pictures/../../../b.jpg",
        "/etc/b",
        "pictures\\..\\b.jpg",
        "C:/b",
        "pictures/b\0",
    ],
)
def test_a_name_that_leads_elsewhere_refuses_the_archive(fetcher: Fetcher, name: str) -> None:
    content = tarred({**GOOD, name: b"bad"}) if "\0" not in name else packed(GOOD)
    if "\0" in name:
        content = content.replace(b"pictures/1.jpg", b"pictures/1\0jpg")
    refused(served(fetcher, content), "leads out of its folder")
    fetcher.release.files["/a.zip"] = packed({**GOOD, name: b"bad"})
    if "\0" not in name:
        refused(fetcher, f"{name!r} in it leads out of its folder")


@pytest.mark.parametrize("name", ["pictures/l.jpg", "a.json", "unwanted"])
def test_a_link_refuses_the_archive(fetcher: Fetcher, name: str) -> None:
    refused(served(fetcher, zip_with_link(name)), f"{name!r} in it is a link, no plain file")
    fetcher.release.files["/a.zip"] = tarred(GOOD, l="/etc")
    refused(fetcher, "'pictures/l' in it is a link")


def test_what_is_no_whole_archive_or_lacks_a_member_is_refused(fetcher: Fetcher) -> None:
    served(fetcher, packed(GOOD)[:-30])
    refused(fetcher, "not a whole archive")
    fetcher.release.files["/a.zip"] = tarred(GOOD)[:-30]
    refused(fetcher, "damaged gzip data")
    damaged = bytearray(packed({**GOOD, "pictures/1.jpg": bytes(range(256)) * 40}))
    damaged[damaged.index(b"pictures/1.jpg") + 30] ^= 255
    fetcher.release.files["/a.zip"] = bytes(damaged)
    refused(fetcher, "not a whole archive")
    fetcher.release.files["/a.zip"] = packed({"a.json": b"{}"})
    refused(fetcher, "it holds no pictures/")
    fetcher.release.files["/a.zip"] = packed({**GOOD, "pictures/1.JPG": b"again"})
    refused(fetcher, "is in it twice")
    for name in ("pictures/1.jpg/2.jpg", f"pictures/{'a' * 300}.jpg"):
        fetcher.release.files["/a.zip"] = packed({**GOOD, name: b"again"})
        refused(fetcher, "a name in it cannot be written")
    fetcher.release.files["/a.zip"] = packed(GOOD)
    assert fetcher.get() == ["fetched"]


def test_more_than_an_archive_can_honestly_hold_is_refused(
    fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "FREE_BYTES", 1 << 10)
    monkeypatch.setattr("vlbench.files.FREE_BYTES", 1 << 10)
    bomb = {**GOOD, "a.json": bytes(1 << 20)}
    served(fetcher, packed(bomb))
    refused(fetcher, "unpacks to more than 50 times its size")
    fetcher.release.files["/a.zip"] = tarred(bomb)
    refused(fetcher, "unpacks to more than 50 times its size")


def test_a_disk_without_room_keeps_the_archive_and_unpacks_it_later(
    fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {**GOOD, "a.json": b"{}" * 5_000}
    served(fetcher, packed(content))
    with monkeypatch.context() as patch:
        patch.setattr(unpack.shutil, "disk_usage", lambda _: FREE(1, 1, 5_000))
        with pytest.raises(MissingError, match=r"10\.0 kB are needed to unpack it, 5\.0 kB free"):
            fetcher.get()
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(unpack, "flush", full)
        with pytest.raises(MissingError, match="No space left on device while unpacking"):
            fetcher.get()
    assert not (fetcher.root / "vqa/a.json").exists() and len(fetcher.parts()) == 1
    fetcher.release.requests.clear()
    assert fetcher.get() == ["fetched"]
    assert fetcher.release.ranges == []  # the archive is here


def test_ctrl_c_while_unpacking_leaves_nothing_half_made(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(packed(GOOD))
    left = tmp_path / ".pictures.0123456789.tmp"  # of a process that was killed
    left.mkdir()
    (left / "1.jpg").write_bytes(b"")
    stop = threading.Event()
    stop.set()
    with pytest.raises(fetch.Stopped):
        unpack.unpack(archive, {"pictures/": tmp_path / "pictures"}, stop)
    assert list(tmp_path.iterdir()) == [archive]


def test_devices_and_passwords_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as file:
        info = tarfile.TarInfo("pictures/null")
        info.type = tarfile.CHRTYPE
        file.addfile(info)
    with pytest.raises(DataError, match="is a device, no plain file"):
        unpack.unpack(archive, {"pictures/": tmp_path / "pictures"}, threading.Event())
    content = bytearray(packed({"a.json": b"{}"}))
    content[content.index(b"PK\1\2") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"'a\.json' in it is encrypted"):
        unpack.unpack(archive, {"a.json": tmp_path / "a.json"}, threading.Event())
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]
