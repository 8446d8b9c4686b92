"""`vlbench report`: options, exit codes, and what goes where."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.leaderboard.builders import image_text, row, write
from vlbench.cli.app import app


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(
        tmp_path / "results",
        image_text("full", 66, 58, 71, 112),
        image_text("shared-adapter", 64, 56, 69, 105),
        image_text("full", 1, 1, 1, 1, scope="smoke", limit=64, key="smoke"),
        [row("full", "nlvr", 55.0, suite="nlvr", edition="full")],
    )


def report(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["report", "--results", str(folder), *words])


def items(result: Result) -> list[tuple[str, str, str]]:
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)["items"]
    return [(item["method"], item["suite"], item["scope"]) for item in found]


def test_the_table_is_the_default_and_all_of_stdout(folder: Path) -> None:
    result = report(folder)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.startswith("image-text on mini-bart, mini edition, test split\n")
    assert "\x1b" not in result.stdout
    assert "smoke" not in result.stdout


def test_the_results_folder_may_come_from_the_environment(folder: Path) -> None:
    result = CliRunner().invoke(app, ["report"], env={"VLBENCH_RESULTS": str(folder)})
    assert result.exit_code == 0
    assert "shared-adapter" in result.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--method", "full", "--tasks", "image-text"], [("full", "image-text", "complete")]),
        (["--method", "single-adapter"], [("shared-adapter", "image-text", "complete")]),
        (["--method", "./my/full.toml", "--edition", "full"], [("full", "nlvr", "complete")]),
        (["--tasks", "nlvr"], [("full", "nlvr", "complete")]),
        (
            ["--tasks", "vqav2,gqa,nlvr2,coco", "--include", "smoke", "--method", "full"],
            [("full", "image-text", "complete"), ("full", "image-text", "smoke")],
        ),
        (
            ["--edition", "mini,full", "--backbone", "mini-bart,clip-t5", "--method", "full"],
            [("full", "image-text", "complete"), ("full", "nlvr", "complete")],
        ),
        (
            ["--edition", "full", "--edition", "mini", "--method", "shared-adapter"],
            [("shared-adapter", "image-text", "complete")],
        ),
    ],
    ids=str,
)
def test_filters_choose(
    folder: Path, words: list[str], expected: list[tuple[str, str, str]]
) -> None:
    assert items(report(folder, "--format", "json", *words)) == expected


def test_out_writes_the_file_and_leaves_stdout_empty(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "new" / "report.md"
    result = report(folder, "--format", "markdown", "--out", str(file))
    assert (result.exit_code, result.stdout) == (0, "")
    assert file.read_text(encoding="utf-8").startswith("### image-text on mini-bart")
    assert [each.name for each in file.parent.iterdir()] == ["report.md"]


@pytest.mark.parametrize(
    ("format", "start"),
    [
        ("markdown", "### image-text on mini-bart"),
        ("latex", "% Written by vlbench report --format latex"),
        ("csv", "origin,method,suite,backbone,"),
        ("json", '{\n  "schema": "vlbench.report/1",'),
    ],
)
def test_each_format_is_all_of_stdout_and_holds_costs_on_request(
    folder: Path, format: str, start: str
) -> None:
    result = report(folder, "--format", format, "--costs")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(start)
    assert re.search("71[.]2", result.stdout)
    assert "71.2" not in report(folder, "--format", format).stdout


def test_csv_is_written_with_the_line_ends_of_the_rfc(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.csv"
    assert report(folder, "--format", "csv", "--out", str(file)).exit_code == 0
    assert file.read_bytes().count(b"\r\n") == file.read_bytes().count(b"\n") == 4


def test_html_writes_a_folder_of_pages(folder: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    result = report(folder, "--format", "html", "--out", str(site))
    assert (result.exit_code, result.stdout) == (0, "")
    assert "shared-adapter" in (site / "index.html").read_text(encoding="utf-8")
    assert str(site / "index.html") in result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--format", "html"], "--out site"),
        (["--format", "html", "--out", "{file}"], "needs a folder"),
        (["--format", "csv", "--out", "{folder}"], "--format csv needs a file"),
    ],
    ids=str,
)
def test_a_wrong_place_to_write_exits_2_before_anything_is_read(
    tmp_path: Path, words: list[str], expected: str
) -> None:
    places = {"file": tmp_path / "file", "folder": tmp_path}
    places["file"].touch()
    result = report(tmp_path / "absent", *(word.format(**places) for word in words))
    assert (result.exit_code, result.stdout) == (2, "")
    assert expected in result.stderr


def test_published_rows_are_shown_on_request_and_follow_the_filter(folder: Path) -> None:
    assert "published" not in report(folder).stdout.lower()
    words = ["--paper", "--method", "single-adapter", "--format", "json"]
    document = json.loads(report(folder, *words).stdout)
    assert {row["method"] for row in document["published"]} == {"shared-adapter"}
    table = report(folder, "--paper", "--tasks", "image-text").stdout
    assert "Published: image-text on clip-bart, full edition: other data and another" in table
    assert "lora published [" in table


def test_a_report_imports_neither_torch_nor_the_libraries_of_other_commands(folder: Path) -> None:
    code = (
        "import sys; from vlbench.cli.app import app;"
        f"app(['report', '--results', {str(folder)!r}, '--paper'], standalone_mode=False);"
        "assert not {'torch', 'transformers', 'matplotlib', 'accelerate'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--method", "shared-adaptor"], "Did you mean 'shared-adapter'?"),
        (["--tasks", "image-txt"], "Did you mean 'image-text'?"),
        (["--backbone", "mini-brat"], "Did you mean 'mini-bart'?"),
        (["--edition", "mini,fulll"], "Did you mean 'full'?"),
        (["--include", "smok"], "Did you mean 'smoke'?"),
        (["--format", "tabel"], "'table', 'markdown', 'latex', 'csv', 'json', 'html'"),
    ],
    ids=str,
)
def test_an_unknown_name_exits_2_with_the_nearest(
    folder: Path, words: list[str], expected: str
) -> None:
    result = report(folder, *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert expected in result.stderr


def test_filters_that_match_nothing_exit_4_and_say_what_there_is(folder: Path) -> None:
    result = report(folder, "--method", "compacter")
    assert (result.exit_code, result.stdout) == (4, "")
    assert "No results for" in result.stderr
    assert "image-text / mini-bart / mini / complete: full, shared-adapter" in result.stderr


def test_only_smoke_results_exit_4_and_say_how_to_see_them(tmp_path: Path) -> None:
    write(tmp_path, image_text("full", 1, 1, 1, 1, scope="smoke", limit=64))
    result = report(tmp_path)
    assert result.exit_code == 4
    assert "--include smoke" in result.stderr


def test_an_absent_or_empty_folder_exits_4_with_the_command_to_type(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "absent"):
        result = report(place)
        assert (result.exit_code, result.stdout) == (4, "")
        assert (
            f"vlbench run --method compacter --tasks image-text --results {place}" in result.stderr
        )


def test_a_broken_result_file_exits_3_and_is_named(folder: Path) -> None:
    (folder / "runs" / "smoke" / "result.parquet").write_bytes(b"half")
    result = report(folder)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "smoke/result.parquet" in result.stderr
