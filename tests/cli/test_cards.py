"""`vlbench params`, `list` and `show`."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from tests.runs.test_spec import SPEC
from vlbench.backbones import BACKBONES
from vlbench.cards import find_methods
from vlbench.cards.load import own_cards
from vlbench.cli import output
from vlbench.cli.app import app
from vlbench.errors import MissingError, UsageError, VlbenchError
from vlbench.runs.folder import RunFolder
from vlbench.techniques.compacter import Compacter

KEYS = [
    "method",
    "aliases",
    "backbone",
    "suite",
    "settings",
    "technique",
    "sharing",
    "width",
    "trainable",
    "total",
    "trainable_percent",
    "published_percent",
    "denominator",
    "groups",
]


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, ["params", *words])


def run(*words: str, backbone: str = "clip-bart") -> str:
    result = invoke("--backbone", backbone, *words)
    assert result.exit_code == 0, result.output
    return result.stdout


def items(*words: str, backbone: str = "clip-bart") -> list[dict[str, Any]]:
    document = json.loads(run(*words, "--json", backbone=backbone))
    assert document["schema"] == "vlbench.params/1"
    found: list[dict[str, Any]] = document["items"]
    return found


@pytest.fixture
def three_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """For speed: all methods there are."""
    cards = find_methods("full,adapter,compacter")
    monkeypatch.setattr("vlbench.cards.load.all_methods", lambda: cards)


def test_the_counted_percentages_stand_beside_the_published_ones() -> None:
    head, adapter, compacter = run("--method", "shared-adapter,compacter").splitlines()
    assert head.split() == ["method", "width", "trainable", "total", "%", "published"]
    assert adapter.split() == ["shared-adapter", "96", "6,081,600", "145,606,464", "4.18", "4.18"]
    assert compacter.split() == ["compacter", "96", "10,584,960", "150,109,824", "7.05", "-"]


@pytest.mark.parametrize("words", [[], ["--groups"]], ids=["totals", "groups"])
def test_numbers_are_aligned_to_the_right_and_fit_a_terminal(words: list[str]) -> None:
    lines = run("--method", "full,half-shared-adapter,shared-adapter", *words).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= 120
    assert [line[0] for line in lines] == ["m", "f", "h", "s"]
    firsts = [line.split()[1] for line in lines]  # the heading and its numbers
    assert (
        len({line.index(first) + len(first) for line, first in zip(lines, firsts, strict=True)})
        == 1
    )


def test_no_number_is_cut_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    narrow = Console(file=shown, force_terminal=True, color_system=None, width=40)
    monkeypatch.setattr(output, "stdout_console", lambda: narrow)
    run("--method", "full,shared-adapter")
    wide = [line.split() for line in shown.getvalue().splitlines()]
    assert wide[1] == ["full", "-", "141,156,864", "141,156,864", "100.00", "100.00"]


def test_the_groups_of_the_table_add_up_to_what_trains() -> None:
    _, *rows = run("--method", "full,compacter", "--groups").splitlines()
    for row in rows:
        trainable, *parts = (int(cell.replace(",", "")) for cell in row.split()[1:])
        assert sum(parts) == trainable


def test_json_has_numbers_groups_and_the_convention() -> None:
    (item,) = items("--method", "single-compacter")
    assert list(item) == KEYS
    assert (item["method"], item["aliases"]) == ("shared-compacter", ["single-compacter"])
    assert (item["backbone"], item["suite"]) == ("clip-bart", "image-text")
    assert (item["trainable"], item["total"]) == (3_870_240, 143_395_104)
    assert item["trainable_percent"] == 100 * 3_870_240 / 143_395_104
    assert item["published_percent"] == 2.70
    assert item["groups"]["visual embedding"] == {"trainable": 1_582_848, "total": 1_582_848}
    for key in ("trainable", "total"):
        assert sum(group[key] for group in item["groups"].values()) == item[key]
    assert "tied tensors once" in item["denominator"]


def test_set_changes_the_count_which_then_has_no_published_counterpart() -> None:
    plain, changed = (
        items("--method", "half-shared-adapter", *words)[0]
        for words in ([], ["--set", "sharing=down"])
    )
    assert (plain["published_percent"], changed["published_percent"]) == (8.36, None)
    assert (changed["trainable"], changed["settings"]) == (12_786_240, ["sharing=down"])


def test_a_card_of_ones_own_has_no_published_counterpart(tmp_path) -> None:
    path = tmp_path / "full.toml"
    path.write_text('title = "Mine"\ntechnique = "full"\n', encoding="utf-8")
    (item,) = items("--method", str(path))
    assert (item["method"], item["published_percent"]) == ("full", None)


def test_video_tasks_are_counted_with_the_features_they_read() -> None:
    (item,) = items("--method", "shared-adapter", "--tasks", "video-text")
    assert (item["trainable"], item["total"], item["suite"]) == (
        4_901_952,
        144_426_816,
        "video-text",
    )
    assert item["published_percent"] == 3.39


def test_all_methods_are_counted_where_none_is_named() -> None:
    found = items(backbone="mini-bart")
    assert {item["method"] for item in found} <= set(own_cards("methods"))
    assert {"full", "frozen", "shared-adapter"} <= {item["method"] for item in found}


@pytest.mark.usefixtures("three_methods")
@pytest.mark.parametrize(
    ("kind", "card"), [(UsageError, "methods/compacter.toml: "), (MissingError, "")]
)
def test_a_method_that_cannot_work_is_left_out_with_its_reason_or_refused_by_name(
    kind: type[VlbenchError], card: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object, backbone: object) -> None:
        raise kind("Compacter needs more room.")

    monkeypatch.setattr(Compacter, "check", refuse)
    result = invoke("--json")
    assert result.exit_code == 0
    assert f"vlbench: compacter is left out: {card}Compacter needs more room.\n" in result.stderr
    counted = {item["method"] for item in json.loads(result.stdout)["items"]}
    assert "adapter" in counted and "compacter" not in counted
    named = invoke("--method", "adapter,compacter")
    assert (named.exit_code, named.stdout) == (kind.exit_code, "")
    assert named.stderr == f"vlbench: {card}Compacter needs more room.\n"


@pytest.mark.usefixtures("three_methods")
def test_a_setting_that_only_some_methods_have_leaves_out_the_others() -> None:
    result = invoke("--set", "params.reduction=4", "--json")
    counted = {item["method"] for item in json.loads(result.stdout)["items"]}
    assert "adapter" in counted and "full" not in counted
    assert "full is left out: --set params.reduction: Unknown key" in result.stderr


@pytest.mark.usefixtures("three_methods")
def test_a_setting_that_no_method_has_is_an_error() -> None:
    result = invoke("--set", "params.reductoin=4")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Unknown key 'params.reductoin'" in result.stderr
    assert "left out" not in result.stderr


def test_a_width_that_does_not_divide_is_rounded_down_as_the_authors_do() -> None:
    setting = ("--set", "params.reduction=7")
    adapter, hyperformer = items("--method", "adapter,hyperformer", *setting)
    assert (adapter["width"], hyperformer["width"]) == (109, 109)
    (lst,) = items("--method", "lst", *setting, backbone="clip-t5")
    assert lst["width"] == 109
    (both,) = items("--method", "adapter-and-prompt", "--set", "params.adapter.reduction=7")
    assert both["width"] == 109
    (full,) = items("--method", "full")
    assert full["width"] is None


@pytest.mark.parametrize("method", ["compacter", "lst"])
@pytest.mark.parametrize(
    ("reduction", "text"),
    [
        ("0", "Should be greater than or equal to 1"),
        ("-7", "Should be greater than or equal to 1"),
        ("769", "params.reduction=769 leaves nothing of"),
        ("9e99", "Should be a valid integer"),
    ],
)
def test_a_width_of_nothing_is_refused(method: str, reduction: str, text: str) -> None:
    words = ("--backbone", "clip-t5", "--method", method, "--set", f"params.reduction={reduction}")
    result = invoke(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert text in result.stderr


@pytest.mark.parametrize(
    ("option", "name", "message"),
    [
        ("--backbone", "clip-brat", "Unknown backbone 'clip-brat'. Did you mean 'clip-bart'?"),
        ("--method", "compactor", "Unknown method 'compactor'. Did you mean 'compacter'?"),
        ("--tasks", "image-txt", "Unknown task or suite 'image-txt'. Did you mean 'image-text'?"),
    ],
)
def test_an_unknown_name_names_the_nearest(option: str, name: str, message: str) -> None:
    result = invoke(option, name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_the_command_imports_nothing_heavy_before_it_runs() -> None:
    code = (
        "import sys, vlbench.cli.cards;"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def vlbench(*words: str) -> Result:
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
    table = vlbench("list", what)
    assert table.exit_code == 0
    assert [line.split()[0] for line in table.stdout.splitlines()] == ["name", *names]
    document = json.loads(vlbench("list", what, "--json").stdout)
    assert document["schema"] == "vlbench.list/1"
    assert [item["name"] for item in document["items"]] == names


def test_listing_what_there_is_not_names_the_nearest() -> None:
    result = vlbench("list", "method")
    assert result.exit_code == 2
    assert "Did you mean 'methods'?" in result.stderr
    assert result.stdout == ""


def test_show_prints_the_card_as_it_is_written(project: Path) -> None:
    written = (project / "methods/compacter.toml").read_text(encoding="utf-8")
    assert vlbench("show", "multiple-compacters").stdout == (f"# methods/compacter.toml\n{written}")


def test_show_as_json_fills_in_the_defaults() -> None:
    document = json.loads(vlbench("show", "full", "--json").stdout)
    (item,) = document["items"]
    assert document["schema"] == "vlbench.show/1"
    assert (item["kind"], item["file"], item["train"]["warmup_ratio"]) == (
        "method",
        "methods/full.toml",
        0.1,
    )


@pytest.mark.parametrize("name", ["vqa", "image-text", "mini-bart", "coco"])
def test_show_knows_tasks_suites_and_backbones(name: str) -> None:
    assert vlbench("show", name).exit_code == 0
    assert json.loads(vlbench("show", name, "--json").stdout)["items"][0]["title"]


def test_show_reads_a_card_given_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('title = "Mine"\ntechnique = "full"\n', encoding="utf-8")
    assert vlbench("show", str(path)).stdout.endswith('technique = "full"\n')
    path.write_text('title = "Mine"\ntechnique = "full"\n[trian]\n', encoding="utf-8")
    result = vlbench("show", str(path))
    assert result.exit_code == 2
    assert "mine.toml: trian: Unknown key 'trian'. Did you mean 'train'?" in result.stderr


def test_showing_what_there_is_not_names_the_nearest() -> None:
    result = vlbench("show", "compactor")
    assert result.exit_code == 2
    assert "Did you mean 'compacter'?" in result.stderr
    assert "Did you mean 'config'?" in vlbench("show", "confg").stderr


def list_runs(results: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["list", "runs", "--results", str(results), *words])


def test_runs_are_listed_with_their_status(tmp_path: Path) -> None:
    folder = RunFolder.of(tmp_path, SPEC)
    folder.create(SPEC)
    table = list_runs(tmp_path)
    assert table.exit_code == 0
    head, line = table.stdout.splitlines()
    assert head.split() == [
        *("key", "method", "settings", "init", "suite"),
        *("backbone", "edition", "scope", "seed", "status"),
    ]
    assert line.split() == [
        SPEC.key,
        "mine",
        "gqa",
        "mini-bart",
        "mini",
        "complete",
        "0",
        "planned",
    ]
    document = json.loads(list_runs(tmp_path, "--json").stdout)
    assert document["schema"] == "vlbench.list/1"
    assert document["items"][0]["settings"] == []
    assert document["items"][0]["init"] == ""


def test_an_unreadable_run_is_told_beside_the_others(tmp_path: Path) -> None:
    RunFolder.of(tmp_path, SPEC).create(SPEC)
    broken = tmp_path / "runs" / "broken" / "spec.json"
    broken.parent.mkdir()
    broken.write_text("")
    result = list_runs(tmp_path)
    assert result.exit_code == 3
    assert len(result.stdout.splitlines()) == 2
    assert f"{broken}: not a run's spec" in result.stderr


def test_a_folder_without_runs_exits_4(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        result = list_runs(place)
        assert result.exit_code == 4
        assert f"{place}: no runs here" in result.stderr
        assert result.stdout == ""


def test_listing_runs_imports_nothing_heavy(tmp_path: Path) -> None:
    RunFolder.of(tmp_path, SPEC).create(SPEC)
    program = (
        "import sys\n"
        "from vlbench.cli.app import main\n"
        f"sys.argv = ['vlbench', 'list', 'runs', '--results', {str(tmp_path)!r}]\n"
        "try:\n    main()\n"
        "finally:\n    print(sorted({'torch', 'transformers', 'pandas'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.endswith("planned\n[]\n")
