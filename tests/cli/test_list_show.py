"""`vlbench list` and `vlbench show`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from vlbench.backbones import BACKBONES
from vlbench.cards.files import own_cards
from vlbench.cli.app import app


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("methods", list(own_cards("methods"))),
        ("tasks", list(own_cards("tasks"))),
        ("suites", ["image-text", "video-text"]),
        ("backbones", list(BACKBONES)),
    ],
)
def test_list_names_everything_there_is(what: str, names: list[str]) -> None:
    table = run("list", what)
    assert table.exit_code == 0
    assert [line.split()[0] for line in table.stdout.splitlines()] == ["name", *names]
    document = json.loads(run("list", what, "--json").stdout)
    assert document["schema"] == "vlbench.list/1"
    assert [item["name"] for item in document["items"]] == names


def test_listing_what_there_is_not_names_the_nearest() -> None:
    result = run("list", "method")
    assert result.exit_code == 2
    assert "Did you mean 'methods'?" in result.stderr
    assert result.stdout == ""


def test_show_prints_the_card_as_it_is_written(project: Path) -> None:
    written = (project / "methods/compacter.toml").read_text(encoding="utf-8")
    assert run("show", "multiple-compacters").stdout == f"# methods/compacter.toml\n{written}"


def test_show_as_json_fills_in_the_defaults() -> None:
    document = json.loads(run("show", "full", "--json").stdout)
    (item,) = document["items"]
    assert document["schema"] == "vlbench.show/1"
    assert (item["kind"], item["file"], item["train"]["warmup_ratio"]) == (
        "method",
        "methods/full.toml",
        0.1,
    )


@pytest.mark.parametrize("name", ["vqa", "image-text", "mini-bart", "coco"])
def test_show_knows_tasks_suites_and_backbones(name: str) -> None:
    assert run("show", name).exit_code == 0
    assert json.loads(run("show", name, "--json").stdout)["items"][0]["title"]


def test_show_reads_a_card_given_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('title = "Mine"\ntechnique = "full"\n', encoding="utf-8")
    assert run("show", str(path)).stdout.endswith('technique = "full"\n')
    path.write_text('title = "Mine"\ntechnique = "full"\n[trian]\n', encoding="utf-8")
    result = run("show", str(path))
    assert result.exit_code == 2
    assert "mine.toml: trian: Unknown key 'trian'. Did you mean 'train'?" in result.stderr


def test_showing_what_there_is_not_names_the_nearest() -> None:
    result = run("show", "compactor")
    assert result.exit_code == 2
    assert "Did you mean 'compacter'?" in result.stderr
    assert "Did you mean 'config'?" in run("show", "confg").stderr
