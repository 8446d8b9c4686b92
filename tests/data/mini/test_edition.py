from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.data.mini.builders import TINY, TINY_VIDEO, digests
from vlbench.data.mini import edition
from vlbench.data.mini.edition import make_mini, mini_root
from vlbench.data.mini.write import VERSION, VIDEO_VERSION, write_mini, write_video
from vlbench.errors import UsageError

RIVAL = """
import sys
from pathlib import Path
from tests.data.mini.builders import TINY
from vlbench.data.mini import edition, write
edition.write_mini = lambda *a, **k: write.write_mini(*a, **k, sizes=TINY)
edition.make_mini(Path(sys.argv[1]), 0, visuals=("image",))
"""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edition, "write_mini", functools.partial(write_mini, sizes=TINY))
    monkeypatch.setattr(edition, "write_video", functools.partial(write_video, sizes=TINY_VIDEO))


def test_an_edition_is_written_whole_with_its_contact_sheet(tiny, tmp_path) -> None:
    make_mini(tmp_path / "new" / "mini", 0, visuals=("image",))
    found = digests(tmp_path / "new" / "mini")
    assert found.pop("contact_sheet.png")
    assert found == digests(tiny)
    assert os.listdir(tmp_path / "new") == ["mini"]
    with Image.open(tmp_path / "new" / "mini" / "contact_sheet.png") as sheet:
        assert sheet.format == "PNG"


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match="mine is there already and not empty: name a new folder"):
        make_mini(tmp_path / "mine", 0)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


def test_an_empty_folder_will_do(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    make_mini(tmp_path / "empty", 0)
    assert (tmp_path / "empty" / "mini.json").is_file()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("where", ["GQA", "NLVR2", "sheet"])
def test_a_failure_in_the_middle_leaves_nothing(where, error, tmp_path, monkeypatch) -> None:
    def fail(what: object) -> None:
        if where in (what, "sheet"):
            raise error

    if where == "sheet":
        monkeypatch.setattr(edition, "contact_sheet", fail)
    with pytest.raises(error):
        make_mini(tmp_path / "mini", 0, (lambda _: None) if where == "sheet" else fail)
    assert list(tmp_path.iterdir()) == []


def test_of_two_processes_at_once_the_first_one_wins(tiny, project, tmp_path) -> None:
    """The other process starts when this one is in the middle, and is done before it."""
    folder = tmp_path / "mini"

    def rival(what: str) -> None:
        if what == "GQA":
            command = [sys.executable, "-c", RIVAL, str(folder)]
            # Another hash seed: no order of a set may get into the files.
            changed = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(project)}
            subprocess.run(command, check=True, timeout=60, env=changed, cwd=project)
            made.append(digests(folder))

    made: list[dict[str, str]] = []
    make_mini(folder, 0, rival, visuals=("image",))
    assert digests(folder) == made[0]
    assert digests(tiny).items() <= made[0].items()
    assert os.listdir(tmp_path) == ["mini"]


def test_the_embedded_edition_is_made_once_and_lies_in_the_cache(cache: Path) -> None:
    told: list[str] = []
    root = mini_root(progress=told.append)
    assert root == cache / f"mini-v{VERSION}-seed0"
    assert told == ["COCO and VQAv2", "GQA", "NLVR2"]
    assert mini_root(progress=told.append) == root and len(told) == 3


def test_clips_are_made_apart_from_the_pictures_when_they_are_needed(cache: Path) -> None:
    told: list[str] = []
    root = mini_root("video", told.append)
    assert root == cache / f"mini-video-v{VIDEO_VERSION}-seed0"
    assert told == ["clips of tvqa and tvc", "clips of how2qa", "clips of yc2c"]
    assert {path.name for path in root.iterdir()} == {"video", "mini-video.json", "video_sheet.png"}
    assert mini_root("video", told.append) == root and len(told) == 3


def test_a_folder_of_ones_own_holds_pictures_and_clips(tmp_path: Path) -> None:
    make_mini(tmp_path / "all", 0)
    assert {"COCO", "GQA", "nlvr2", "vqa", "video"} < {p.name for p in (tmp_path / "all").iterdir()}
