"""`vlbench params`, `list` and `show`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.cli.command import assert_refused, items, vlbench
from tests.runs.test_spec import SPEC
from vlbench import cli
from vlbench.cards import find_methods
from vlbench.cards.load import own_cards
from vlbench.errors import MissingError, UsageError, VlbenchError
from vlbench.runs.folder import RunFolder
from vlbench.techniques.adapter import Compacter


def params(*words: str | Path, backbone: str = "clip-bart") -> Result:
    return vlbench("params", "--backbone", backbone, *words)


def table(*words: str, backbone: str = "clip-bart") -> list[str]:
    result = params(*words, backbone=backbone)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def counts(*words: str | Path, backbone: str = "clip-bart") -> list[dict[str, Any]]:
    return items(params(*words, "--json", backbone=backbone), "params")


@pytest.fixture
def three_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """For speed: all methods there are."""
    cards = find_methods("full,adapter,compacter")
    monkeypatch.setattr("vlbench.cards.load.all_methods", lambda: cards)


def test_the_counted_percentages_stand_beside_the_published_ones() -> None:
    head, adapter, compacter = table("--method", "shared-adapter,compacter")
    assert head.split() == ["method", "width", "trainable", "total", "%", "published"]
    assert adapter.split() == ["shared-adapter", "96", "6,081,600", "145,606,464", "4.18", "4.18"]
    assert compacter.split() == ["compacter", "96", "10,584,960", "150,109,824", "7.05", "-"]


def test_no_number_is_cut_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "dumb")
    numbers = ["-", *["141,156,864"] * 2, "100.00", "100.00"]
    cli.print_table([["full", *numbers]], ["method", *"abcde"], numbers="abcde")
    assert ["full", *numbers] in [line.split() for line in terminal.getvalue().splitlines()]


def test_json_has_numbers_groups_and_the_convention() -> None:
    (item,) = counts("--method", "single-compacter")
    assert (item["method"], item["aliases"]) == ("shared-compacter", ["single-compacter"])
    assert (item["backbone"], item["suite"]) == ("clip-bart", "image-text")
    assert (item["trainable"], item["total"]) == (3_870_240, 143_395_104)
    assert item["trainable_percent"] == 100 * 3_870_240 / 143_395_104
    assert item["published_percent"] == 2.70
    assert item["groups"]["visual embedding"] == {"trainable": 1_582_848, "total": 1_582_848}
    for key in ("trainable", "total"):
        assert sum(group[key] for group in item["groups"].values()) == item[key]
    assert "tied tensors once" in item["denominator"]
    (video,) = counts("--method", "shared-adapter", "--tasks", "video-text")
    assert (video["trainable"], video["total"]) == (4_901_952, 144_426_816)
    assert (video["suite"], video["published_percent"]) == ("video-text", 3.39)


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
    result = params("--json", backbone="mini-bart")
    assert result.exit_code == 0
    assert f"vlbench: compacter is left out: {card}Compacter needs more room.\n" in result.stderr
    assert {item["method"] for item in items(result)} == {"full", "adapter"}
    named = params("--method", "adapter,compacter", backbone="mini-bart")
    assert_refused(named, kind.exit_code, f"vlbench: {card}Compacter needs more room.\n")


@pytest.mark.usefixtures("three_methods")
def test_a_setting_that_only_some_methods_have_leaves_out_the_others() -> None:
    result = params("--set", "params.reduction=4", "--json", backbone="mini-bart")
    assert {item["method"] for item in items(result)} == {"adapter", "compacter"}
    assert "full is left out: --set params.reduction: Unknown key" in result.stderr
    result = params("--set", "params.reductoin=4", backbone="mini-bart")
    assert result.exit_code == 2 and "Unknown key 'params.reductoin'" in result.stderr


def test_a_width_that_does_not_divide_is_rounded_down_as_the_authors_do() -> None:
    setting = ("--set", "params.reduction=7")
    adapters = counts("--method", "adapter,hyperformer", *setting)
    assert [item["width"] for item in adapters] == [109, 109]
    (lst,) = counts("--method", "lst", *setting, backbone="clip-t5")
    (both,) = counts("--method", "adapter-and-prompt", "--set", "params.adapter.reduction=7")
    assert (lst["width"], both["width"]) == (109, 109)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("params --backbone clip-brat", "Unknown backbone 'clip-brat'. Did you mean 'clip-bart'?"),
        ("params --method compactor", "Unknown method 'compactor'. Did you mean 'compacter'?"),
        ("params --tasks image-txt", "Unknown task or suite 'image-txt'. Did you mean 'image-te"),
        ("list method", "Did you mean 'methods'?"),
        ("show compactor", "Did you mean 'compacter'?"),
    ],
)
def test_an_unknown_name_names_the_nearest(words: str, message: str) -> None:
    assert_refused(vlbench(*words.split()), 2, message)


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("methods", list(own_cards("methods"))),
        ("tasks", list(own_cards("tasks"))),
        ("suites", ["image-text", "video-text"]),
        ("backbones", list(own_cards("backbones"))),
    ],
)
def test_list_names_everything_there_is(what: str, names: list[str]) -> None:
    lines = vlbench("list", what).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["name", *names]
    assert [item["name"] for item in items(vlbench("list", what, "--json"), "list")] == names


def test_backbones_say_what_they_read_and_whether_they_are_here(tmp_path: Path) -> None:
    lines = [line for line in vlbench("list", "backbones").stdout.splitlines() if "mini" in line]
    assert [line.split() for line in lines] == [
        ["mini-bart", "embedded-bart", "mini", "weights/mini-bart", "yes"],
        ["mini-vlm", "chat", "pictures", "weights/mini-vlm", "yes"],
    ]


def test_show_prints_cards_suites_and_backbones(project: Path, tmp_path: Path) -> None:
    written = (project / "methods/compacter.toml").read_text(encoding="utf-8")
    assert vlbench("show", "multiple-compacters").stdout == (f"# methods/compacter.toml\n{written}")
    (item,) = items(vlbench("show", "full", "--json"), "show")
    assert (item["kind"], item["file"]) == ("method", "methods/full.toml")
    assert item["train"]["warmup_ratio"] == 0.1
    for name in ("vqa", "image-text", "mini-bart"):
        assert vlbench("show", name).exit_code == 0
        assert items(vlbench("show", name, "--json"))[0]["title"]
    (item,) = items(vlbench("show", "clip-bart", "--json"), "show")
    assert (item["kind"], item["backbone_kind"]) == ("backbone", "bart")
    assert vlbench("show", "clip-t5").stdout.startswith("# backbones/clip-t5.toml\ntitle = ")
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llava"}')
    assert vlbench("show", folder).stdout.splitlines()[:3] == [
        *("# small", "name = small", "title = small")
    ]
    path = tmp_path / "mine.toml"
    path.write_text('title = "Mine"\ntechnique = "full"\n', encoding="utf-8")
    assert vlbench("show", path).stdout.endswith('technique = "full"\n')
    path.write_text('title = "Mine"\ntechnique = "full"\n[trian]\n', encoding="utf-8")
    message = "mine.toml: trian: Unknown key 'trian'. Did you mean 'train'?"
    assert_refused(vlbench("show", path), 2, message)


def test_runs_are_listed_with_their_status_beside_what_cannot_be_read(tmp_path: Path) -> None:
    words = ("list", "runs", "--results", tmp_path)
    assert_refused(vlbench(*words), 4, f"{tmp_path}: no runs here")
    RunFolder.of(tmp_path, SPEC).create(SPEC)
    head, line = vlbench(*words).stdout.splitlines()
    assert head.split() == [
        *("key", "method", "settings", "init", "suite"),
        *("backbone", "edition", "scope", "seed", "status"),
    ]
    assert line.split() == [
        *(SPEC.key, "mine", "gqa", "mini-bart", "mini", "complete", "0", "planned")
    ]
    (item,) = items(vlbench(*words, "--json"), "list")
    assert (item["settings"], item["init"]) == ([], "")
    broken = tmp_path / "runs" / "broken" / "spec.json"
    broken.parent.mkdir()
    broken.write_text("")
    result = vlbench(*words)
    assert result.exit_code == 3 and len(result.stdout.splitlines()) == 2
    assert f"{broken}: not a run's spec" in result.stderr
