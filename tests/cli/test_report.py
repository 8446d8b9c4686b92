"""`vlbench report`: options, exit codes, and what goes where."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import Result

from tests.cli.command import assert_refused, items, vlbench
from tests.leaderboard.builders import image_text, row, write
from tests.leaderboard.scored import write_image_text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results that no test changes."""
    return write(
        tmp_path_factory.mktemp("results"),
        image_text("full", 66, 58, 71, 112),
        image_text("shared-adapter", 64, 56, 69, 105),
        image_text("full", 1, 1, 1, 1, scope="smoke", limit=64, key="smoke"),
        [row("full", "nlvr", 55.0, suite="nlvr", edition="full")],
    )


def report(folder: Path, *words: str) -> Result:
    return vlbench("report", "--results", folder, *words)


def test_the_table_is_the_default_and_all_of_stdout(folder: Path) -> None:
    for result in (report(folder), vlbench("report", VLBENCH_RESULTS=str(folder))):
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.startswith("image-text on mini-bart, mini edition, test split\n")
        assert "\x1b" not in result.stdout and "smoke" not in result.stdout


FULL, ADAPTER = ("full", "image-text", "complete"), ("shared-adapter", "image-text", "complete")
NLVR = ("full", "nlvr", "complete")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--method full --tasks image-text", [FULL]),
        ("--method single-adapter", [ADAPTER]),
        ("--tasks nlvr", [NLVR]),
        (
            "--tasks vqav2,gqa,nlvr2,coco --include smoke --method full",
            [FULL, ("full", "image-text", "smoke")],
        ),
        ("--edition mini,full --backbone mini-bart,clip-t5 --method full", [FULL, NLVR]),
    ],
)
def test_filters_choose(folder: Path, words: str, expected: list[tuple[str, str, str]]) -> None:
    chosen = items(report(folder, "--format", "json", *words.split()))
    assert [(item["method"], item["suite"], item["scope"]) for item in chosen] == expected


def test_out_writes_the_file_and_leaves_stdout_empty(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "latest.md").symlink_to("report.md")
    result = report(folder, "--format", "markdown", "--out", str(tmp_path / "latest.md"))
    assert (result.exit_code, result.stdout) == (0, "")
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text.startswith("### image-text on mini-bart")
    assert (tmp_path / "latest.md").is_symlink() and len(list(tmp_path.iterdir())) == 2
    table = tmp_path / "report.csv"  # with the line ends of the RFC
    assert report(folder, "--format", "csv", "--out", str(table)).exit_code == 0
    assert table.read_bytes().count(b"\r\n") == table.read_bytes().count(b"\n") == 4


def test_html_writes_a_folder_of_pages(folder: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    result = report(folder, "--format", "html", "--out", str(site))
    assert (result.exit_code, result.stdout) == (0, "")
    assert "shared-adapter" in (site / "index.html").read_text(encoding="utf-8")
    assert str(site / "index.html") in result.stderr
    below = report(folder, "--format", "html", "--out", str(site / "index.html" / "x"))
    assert_refused(below, 2, "Name another place: --out")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--format html", "--out site"),
        ("--format html --out {0}/file", "name it: --out site"),
        ("--format csv --out {0}", "it is no regular file. Name another place: --out PATH"),
        ("--format csv --out {0}/file/x.csv", "is a file, no folder. Name another place: --out"),
        ("--no-media", "leave it away"),
    ],
)
def test_words_that_do_not_fit_exit_2_before_anything_is_read(
    tmp_path: Path, words: str, expected: str
) -> None:
    (tmp_path / "file").touch()
    result = report(tmp_path / "absent", *words.format(tmp_path).split())
    assert_refused(result, 2, expected)
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--method shared-adaptor", "Did you mean 'shared-adapter'?"),
        ("--include smok", "Did you mean 'smoke'?"),
        ("--format tabel", "'table', 'markdown', 'latex', 'csv', 'json', 'html'"),
        ("--sort vqav3", "--sort vqav3: Unknown column 'vqav3'. Did you mean 'vqav2'? Known: "),
    ],
)
def test_an_unknown_name_exits_2_with_the_nearest(folder: Path, words: str, expected: str) -> None:
    assert_refused(report(folder, *words.split()), 2, expected)


def test_nothing_to_show_exits_4_and_says_what_there_is_or_how_to_make_it(
    folder: Path, tmp_path: Path
) -> None:
    rest = "image-text / mini-bart / mini / complete: full, shared-adapter"
    assert_refused(report(folder, "--method", "compacter"), 4, "No results for", rest)
    for results in (tmp_path / "absent", tmp_path / "empty"):
        command = f"vlbench run --method compacter --tasks image-text --results {results}"
        assert_refused(report(results), 4, command)
        (tmp_path / "empty").mkdir(exist_ok=True)
    write(tmp_path / "empty", image_text("full", 1, 1, 1, 1, scope="smoke", limit=64))
    assert_refused(report(tmp_path / "empty"), 4, "--include smoke")


def test_a_broken_result_file_is_named_with_exit_3_beside_what_the_others_say(
    folder: Path, tmp_path: Path
) -> None:
    results = Path(shutil.copytree(folder, tmp_path / "results"))
    whole = report(results).stdout
    (results / "runs" / "smoke" / "result.parquet").write_bytes(b"half")
    result = report(results)
    assert (result.exit_code, result.stdout) == (3, whole)
    assert "smoke/result.parquet" in result.stderr
    write(tmp_path / "one", image_text("full", 1, 2, 3, 4))
    (tmp_path / "one" / "runs" / "full--mini-0" / "result.parquet").write_bytes(b"half")
    assert_refused(report(tmp_path / "one"), 3, "full--mini-0/result.parquet")


def test_a_budget_leaves_what_trains_few_enough_with_the_marks_of_the_whole_table(
    tmp_path: Path,
) -> None:
    for method, percent, count in (("full", 100.0, 30), ("lora", 2.0, 50), ("frozen", 1.0, 40)):
        write_image_text(tmp_path, method, *[count] * 4, trainable_percent=percent)
    everything = items(report(tmp_path, "--format", "json"))
    words = ("--max-trainable", "2", "--format")
    shown = items(report(tmp_path, *words, "json"))
    assert [item["method"] for item in shown] == ["lora", "frozen"]
    assert all(item in everything for item in shown)
    [line] = re.findall(r"^lora .*", report(tmp_path, *words, "table").stdout, re.MULTILINE)
    whole = re.findall(r"^lora .*", report(tmp_path).stdout, re.MULTILINE)
    assert line.split() == whole[0].split() and "*" in line
    assert "2 of 3 rows are shown" in report(tmp_path, *words, "table").stdout
    for column, expected in (("method", "full lora frozen"), ("gqa", "lora full frozen")):
        ordered = items(report(tmp_path, "--sort", column, "--format", "json"))
        assert " ".join(item["method"] for item in ordered) == expected
    few = report(tmp_path, "--max-trainable", "0.5")
    assert few.exit_code == 4
    assert "No results for scope complete; trainable at most 0.5 %." in few.stderr
    assert report(tmp_path, "--max-trainable", "-1").exit_code == 2
