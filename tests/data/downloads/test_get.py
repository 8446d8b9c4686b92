"""`vlbench data get`: from the task cards to a root that a run can read."""

from __future__ import annotations

import re
import shutil
from collections import namedtuple
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cli.command import assert_refused, items, vlbench
from tests.data.downloads.conftest import Fetcher
from tests.data.downloads.server import Release, packed
from tests.data.downloads.test_unpack import tarred
from vlbench.cards import load
from vlbench.cards.checking import check
from vlbench.cards.download import Download
from vlbench.cards.load import all_tasks, hashed, load_task
from vlbench.cards.schema import TaskCard
from vlbench.data.downloads import get as downloads
from vlbench.data.downloads.get import PARTS, Item, list_items
from vlbench.data.readers import load_reader
from vlbench.errors import MissingError
from vlbench.lock import Lock

USAGE = namedtuple("USAGE", "total used free")
FETCHED = [card for card in all_tasks() if card.downloads]


@pytest.mark.parametrize("card", FETCHED, ids=lambda card: card.name)
def test_downloads_lie_where_the_reader_looks(card: TaskCard, tmp_path: Path) -> None:
    reader, splits = load_reader(card.reader, tmp_path), card.splits["full"]
    names = {*splits.train, *splits.val, *splits.test}
    needed = {file for split in names for file in reader.files(split)}
    targets = {path for item in list_items([card], tmp_path) for path in item.targets.values()}
    assert needed <= targets
    extra = {path.relative_to(tmp_path).as_posix() for path in targets - needed}
    assert extra <= {"COCO/images/train2014", "COCO/images/val2014", "GQA/images"}


def test_a_task_is_fetched_or_says_what_is_not() -> None:
    for card in all_tasks():
        assert card.downloads or card.not_fetched
        assert not any("//" not in line and "pip" not in line for line in card.not_fetched)


def test_what_is_fetched_changes_no_key_and_stands_in_no_spec() -> None:
    card = load_task("coco")
    assert card.downloads
    without = card.model_copy(update={"downloads": (), "downloads_of": (), "not_fetched": ()})
    assert hashed(card) == hashed(without)
    assert card.model_dump_json() == without.model_dump_json()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"url": "ftp://a/b", "to": "c"}, "should match pattern"),
        ({"url": "https://me:secret@a/b", "to": "c"}, "should match pattern"),
        ({"url": "https://a/b"}, "either `to` or `unpack`"),
        ({"url": "https://a/b", "to": "c", "unpack": {"d": "e"}}, "either `to` or `unpack`"),
        ({"url": "https://a/b", "to": "../c"}, "should be a path without . and .."),
        ({"url": "https://a/b", "to": "/etc/c"}, "should be a path without . and .."),
        ({"url": "https://a/b", "unpack": {"c/": "d"}}, "folders end in /"),
        ({"url": "https://a/b", "to": "c", "sha256": "12"}, "should match pattern"),
        ({"url": "https://a/b", "to": "c", "size_bytes": 0}, "greater than or equal to 1"),
    ],
)
def test_a_faulty_download_of_a_card_is_refused(fields: dict[str, object], text: str) -> None:
    card, faults = check(Download, fields)
    assert card is None and text in faults[0].text, faults


def serve_tasks(
    names: list[str], source: Path, release: Release, folder: Path, patch: pytest.MonkeyPatch
) -> None:
    """Serve files of `source` at the addresses of the cards, whose sizes and sums become theirs."""
    shutil.copytree(load.card_folder("tasks"), folder)
    texts = {name: (folder / f"{name}.toml").read_text(encoding="utf-8") for name in names}
    for name in names:
        for item in list_items([load_task(name)], source):
            members: dict[str, bytes] = {}
            for member, path in item.targets.items():
                below = [path] if path.is_file() else filter(Path.is_file, path.rglob("*"))
                for file in below:
                    inner = file.relative_to(path).as_posix() if path.is_dir() else ""
                    members[member + inner] = file.read_bytes()
            kind = tarred if item.download.url.endswith(".tar.gz") else packed
            content = kind(members) if item.download.unpack else members[""]
            address = urlsplit(item.download.url)
            release.files[f"/{address.netloc}{address.path}"] = content
            for card, text in texts.items():
                if item.download.sha256:
                    text = text.replace(item.download.sha256, sha256(content).hexdigest())
                if size := item.download.size_bytes:
                    text = text.replace(f"size_bytes = {size}", f"size_bytes = {len(content)}")
                texts[card] = text
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    original = load.card_folder
    patch.setattr(load, "card_folder", lambda kind: folder if kind == "tasks" else original(kind))


Prepare = Callable[[str, Path], Path]


@pytest.fixture
def prepare(release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    def _prepare(names: str, source: Path) -> Path:
        serve_tasks(names.split(","), source, release, tmp_path / "cards", monkeypatch)
        monkeypatch.setenv("VLBENCH_MIRROR", f"{release.url}/")
        return tmp_path / "new"

    return _prepare


@pytest.mark.parametrize(
    ("names", "by_agreement"),
    [("vqav2,gqa,nlvr2,coco", "nlvr2/images"), ("tvqa,how2qa,tvc,yc2c", "video/frames")],
)
def test_a_release_is_fetched_through_a_mirror_and_data_check_finds_it(
    names: str, by_agreement: str, prepare: Prepare, request: pytest.FixtureRequest
) -> None:
    source: Path = request.getfixturevalue("tiny" if "coco" in names else "tiny_video")
    root = prepare(names, source)
    result = vlbench("data", "get", names, "--root", root)
    assert result.exit_code == 0, result.stderr
    assert set(re.findall("missing|fetched", result.stdout)) == {"fetched"}
    assert "not fetched: " in result.stderr and by_agreement in result.stderr
    check_it = ("data", "check", "--tasks", names, "--edition", "full", "--root", root)
    shutil.copytree(source / by_agreement, root / by_agreement)
    result = vlbench(*check_it)
    assert result.exit_code == 0, result.output


def test_the_dry_run_prints_the_list_and_fetches_nothing(
    prepare: Prepare, release: Release, tiny: Path
) -> None:
    root = prepare("nlvr2,coco", tiny)
    result = vlbench("data", "get", "nlvr2,coco", "--root", root, "--dry-run")
    assert result.exit_code == 0
    assert "/lil-lab/nlvr/tree/master/nlvr2#direct-image-download" in result.stderr
    assert result.stdout.count(f"{release.url}/raw.githubusercontent.com/lil-lab/nlvr/") == 3
    assert release.requests == [] and not root.exists()
    listed = items(vlbench("data", "get", "vqav2", "--root", root, "--dry-run", "--json"), "get")
    assert [item["state"] for item in listed] == ["missing"] * 7
    official = vlbench("data", "get", "coco", "--root", root, "--dry-run", VLBENCH_MIRROR="")
    assert " http://images.cocodataset.org/zips/val2014.zip " in official.stdout


def test_the_real_cards_name_sizes_and_sums_where_they_are_published() -> None:
    [item] = [i for i in list_items([load_task("coco")], Path()) if "train2014" in i.url]
    assert item.download.size_bytes == 13_510_573_713 and len(item.download.sha256) == 64
    shared = list_items([load_task("vqav2"), load_task("coco")], Path())
    assert [i.tasks for i in shared if "zips" in i.url] == [["vqav2", "coco"]] * 2


def test_what_fails_is_named_beside_what_came_and_exits_3(
    prepare: Prepare, release: Release, tiny: Path
) -> None:
    root = prepare("nlvr2", tiny)
    gone = "/raw.githubusercontent.com/lil-lab/nlvr/master/nlvr2/data/dev.json"
    content = release.files.pop(gone)
    result = vlbench("data", "get", "nlvr2", "--root", root)
    assert result.exit_code == 3
    assert f"{release.url}{gone}: HTTP 404 Not Found. The official page: https://" in result.stderr
    assert "--mirror ADDRESS fetches it from copies elsewhere." in result.stderr
    assert re.findall("missing|fetched", result.stdout) == ["fetched", "missing", "fetched"]
    release.files[gone] = content
    release.requests.clear()
    result = vlbench("data", "get", "nlvr2", "--root", root)
    assert re.findall("here|fetched", result.stdout) == ["here", "fetched", "here"]
    assert {path for _, path, _ in release.requests} == {gone}
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("easy-vqa", 3, "pip install easy-vqa"),
        ("nlvr", 3, "to clone: https://github.com/lil-lab/nlvr"),
        ("nlvr3", 2, "Did you mean 'nlvr'?"),
        ("coco --mirror file:///etc", 2, "--mirror file:///etc: should be an http or https"),
        ("coco --mirror http://me:secret@host", 2, "without a name and password"),
    ],
)
def test_what_cannot_be_fetched_is_refused(
    words: str, code: int, text: str, tmp_path: Path
) -> None:
    assert_refused(vlbench("data", "get", *words.split(), "--root", tmp_path), code, text)


def test_a_disk_that_is_too_small_is_refused_before_anything_comes(
    fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetcher.release.files["/b.zip"] = packed({"b": b""})
    fetcher.add("/b.zip", unpack={"b": "b"}, size_bytes=2_000_000).add()
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: USAGE(9, 9, 4_000_000))
    with pytest.raises(MissingError) as caught:
        fetcher.get()
    message = str(caught.value)
    assert message.startswith(f"{fetcher.root}: 4.2 MB are needed at least, 2.1 MB of them until")
    assert "4.0 MB are free. Make room, or name a root on another disk: --root DIR" in message
    assert fetcher.release.ranges == [] and fetcher.left() == []


def test_two_commands_do_not_fetch_into_one_root(fetcher: Fetcher) -> None:
    parts = fetcher.root / PARTS
    parts.mkdir(parents=True)
    with Lock(parts).acquire(), pytest.raises(MissingError, match="another `vlbench data get`"):
        fetcher.add().get()
    assert fetcher.get() == ["fetched"]


def test_a_bug_is_not_explained_away(fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(downloads._Fetching, "_keep", broken)
    with pytest.raises(ZeroDivisionError):
        fetcher.add().get()


def test_a_mirror_keeps_host_and_path(tmp_path: Path) -> None:
    item: Item = list_items([load_task("gqa")], tmp_path, "https://mirror.example/open")[0]
    path = "downloads.cs.stanford.edu/nlp/data/gqa/questions1.2.zip"
    assert item.url == f"https://mirror.example/open/{path}"
