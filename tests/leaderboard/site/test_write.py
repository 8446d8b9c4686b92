"""The folder a site is written to, and the names of its pages."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from vlbench.errors import UsageError
from vlbench.files import temporary_beside
from vlbench.leaderboard.site.pages import numbered, page_names
from vlbench.leaderboard.site.run_files import is_plain
from vlbench.leaderboard.site.write import MARKER, SiteFolder


def write(out: Path, *names: str) -> None:
    folder = SiteFolder(out)
    for name in names:
        folder.write(name, "text")
    folder.finish()


def files(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["", "deep/site"], ids=["empty", "new"])
def test_a_site_goes_to_a_new_or_empty_folder_with_a_marker(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, "index.html", "methods/a.html")
    assert files(tmp_path / name) == {MARKER, "index.html", "methods/a.html"}


def test_a_folder_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="no site of vlbench"):
        write(tmp_path, "index.html")
    assert files(tmp_path) == {"thesis.tex"}


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "site").write_text("mine")
    with pytest.raises(UsageError, match="a site is a folder"):
        write(tmp_path / "site", "index.html")


def test_a_place_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"Cannot be written: .*file is a file"):
        write(tmp_path / "file" / "site", "index.html")


def test_pages_that_are_gone_are_removed_and_what_the_user_added_stays(tmp_path: Path) -> None:
    write(tmp_path, "index.html", "methods/a.html", "methods/b.html")
    (tmp_path / "CNAME").write_text("example.org")
    (tmp_path / "methods" / "mine.html").write_text("mine")
    write(tmp_path, "index.html", "methods/b.html")
    kept = {MARKER, "index.html", "methods/b.html", "methods/mine.html", "CNAME"}
    assert files(tmp_path) == kept


def test_a_writer_that_was_killed_leaves_a_site_that_the_next_one_cleans(tmp_path: Path) -> None:
    SiteFolder(tmp_path).write("methods/gone.html", "text")  # and no finish
    write(tmp_path, "index.html")
    assert files(tmp_path) == {MARKER, "index.html"}


@pytest.mark.parametrize("name", ["../victim", "{}/victim", "methods/../../victim"])
def test_a_marker_that_names_files_elsewhere_removes_nothing_there(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "victim").write_text("mine")
    out = tmp_path / "site"
    write(out, "index.html", "methods/a.html")
    (out / MARKER).write_text(f"{name.format(tmp_path)}\n")
    write(out, "index.html")
    assert (tmp_path / "victim").read_text() == "mine"


def test_what_a_killed_writer_left_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    process = subprocess.Popen(["true"])
    process.wait()

    def leftover(name: str) -> tuple[Path, Path]:
        own = temporary_beside(tmp_path / name)
        dead = own.with_name(own.name.replace(f".{os.getpid()}-", f".{process.pid}-"))
        own.touch()
        dead.touch()
        return own, dead

    own, dead = leftover(MARKER)  # killed before its marker: the folder is taken
    write(tmp_path, "methods/a.html")
    assert own.exists() and not dead.exists()
    own, dead = leftover("methods/a.html")
    write(tmp_path, "methods/a.html")
    assert own.exists() and not dead.exists()


HOSTILE = [
    *("../../x", "..", "/etc/passwd", "a/b", "a\\b", "C:\\x", "x\0y", "LoRA", "lora", "löra", ""),
    *("<script>", "javascript:alert(1)", "日本", "日本語", "x" * 500, "x" * 501, " x", "x "),
]


def test_a_plain_name_is_the_pages_name() -> None:
    assert page_names(["shared-adapter", "vqav2"]) == {
        "shared-adapter": "shared-adapter",
        "vqav2": "vqav2",
    }


def test_any_other_name_becomes_safe_letters_and_no_two_are_the_same() -> None:
    names = page_names(HOSTILE)
    assert len(set(names.values())) == len(HOSTILE)
    for name in names.values():
        assert name
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert len(name) < 80


def test_who_takes_anothers_hashed_name_gets_it_and_the_other_a_longer_hash() -> None:
    taken = page_names(["LoRA"])["LoRA"]
    both = page_names(["LoRA", taken])
    assert both[taken] == taken
    assert both["LoRA"].startswith(f"{taken[:-1]}") and both["LoRA"] != taken


def test_a_name_does_not_depend_on_the_order() -> None:
    assert page_names(HOSTILE) == page_names(reversed(HOSTILE))


def test_a_name_that_comes_again_is_numbered() -> None:
    assert numbered(["a", "b", "a", "a-2", "a"]) == ["a", "b", "a-3", "a-2", "a-4"]


@pytest.mark.parametrize(
    ("texts", "is_name"),
    [
        (["", ".", "..", "a/b", "a\\b", ".hidden", "a\nb", "x" * 300], False),
        (["COCO_val2014_000000005200", "-jyO7IaGWLY_10", "test1-0-0-img0"], True),
    ],
)
def test_ids_of_the_datasets_are_file_names_and_what_leads_elsewhere_is_none(
    texts: list[str], is_name: bool
) -> None:
    assert [is_plain(text) for text in texts] == [is_name] * len(texts)
