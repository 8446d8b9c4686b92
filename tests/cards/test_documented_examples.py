"""The cards and the technique in docs/adding-a-method.md and -backbone.md work as printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.runs.builders import Bench, work_in_process, write_published_bart
from tests.techniques.toys import toy_backbone
from vlbench.backbones import build_backbone, find_backbone
from vlbench.cards import MethodCard, load_method
from vlbench.cli.app import app
from vlbench.techniques import resolve_method, technique_faults
from vlbench.techniques.adapt import adapt, trained_parameters


def write_files(document: Path, folder: Path) -> None:
    """Write the documented files; each block follows its file's name."""
    text = document.read_text(encoding="utf-8")
    for name, body in re.findall(r"`([\w/-]+\.\w+)`[^\n]*:\n\n```\w+\n(.*?)```", text, re.DOTALL):
        (folder / Path(name).name).write_text(body, encoding="utf-8")


def commands(document: Path) -> list[list[str]]:
    """The words of the documented commands."""
    found = re.findall(r"^vlbench (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return list(map(shlex.split, found))


@pytest.fixture
def examples(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the documented files of a method."""
    write_files(project / "docs/adding-a-method.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def backbone(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the documented card of a backbone, and small weights where it looks for some.

    In the hub's cache, and in a folder without a card.
    """
    write_files(project / "docs/adding-a-backbone.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    model = tmp_path / "hub/models--facebook--bart-large"
    write_published_bart(model / "snapshots" / ("0" * 40))
    (model / "refs").mkdir()
    (model / "refs/main").write_text("0" * 40)
    write_published_bart(tmp_path / "bart-large")
    return tmp_path


def resolved(path: str) -> MethodCard:
    return resolve_method(load_method(path, technique_faults), "mini-bart", "image-text")


def test_the_card_of_a_known_technique_is_valid(examples: Path) -> None:
    assert resolved("./narrow-adapter.toml").params == {"reduction": 16}


def test_the_outside_technique_attaches_and_trains_its_own_parameters(examples: Path) -> None:
    card = resolved("./scale.toml")
    backbone = toy_backbone("bart")
    model = adapt(backbone, card, ["vqav2"])
    names = [name for name in trained_parameters(model) if name.startswith("technique.")]
    layers = sum(site.kind == "feed_forward" for site in backbone.sites())
    assert len(names) == 2 * layers > 0


@pytest.mark.slow
def test_the_commands_run_as_printed(
    examples: Path, project: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_in_process(monkeypatch)
    monkeypatch.setenv("VLBENCH_ROOT", str(bench.root))  # a smaller world and a smaller backbone
    monkeypatch.setenv("VLBENCH_BACKBONE_PATH", str(bench.backbone))
    typed = commands(project / "docs/adding-a-method.md")
    assert len(typed) == 4
    for words in typed:
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
    assert len(list(examples.glob("results/runs/*/adapter.safetensors"))) == 2
    assert "scale" in result.stdout
    assert "narrow-adapter" in result.stdout


def test_the_card_of_a_backbone_is_valid_and_builds_its_own_shapes(backbone: Path) -> None:
    card = find_backbone("./large.toml")
    assert (card.name, card.kind, card.source) == ("large", "bart", "facebook/bart-large")
    assert len(card.text().splitlines()) == 6
    assert build_backbone("./large.toml", meta=True).width == 32
    Path("mine.toml").write_text(
        'title = "Mine"\ntechnique = "full"\n[when."large.toml/*"]\ntrain.epochs = 7\n'
    )
    method = load_method("./mine.toml", technique_faults)
    assert resolve_method(method, card.name, "image-text").train.epochs == 7


@pytest.mark.slow
def test_the_commands_for_a_backbone_run_as_printed(
    backbone: Path, project: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_in_process(monkeypatch)
    monkeypatch.setenv("VLBENCH_ROOT", str(bench.root))
    monkeypatch.setenv("VLBENCH_SET", "train.epochs=1")
    printed = commands(project / "docs/adding-a-backbone.md")
    typed = [words for words in printed if "./SmolVLM-256M-Instruct" not in words]
    assert len(typed) == 6
    for words in typed:
        result = CliRunner().invoke(app, words)
        if words[-1] == "./bart-large" and result.exit_code == 3:  # CLIP's encoder is not here
            assert "Missing: features." in result.stderr
        else:
            assert result.exit_code == 0, result.output
    assert len(list(backbone.glob("results/runs/*/adapter.safetensors"))) == 1
    result = CliRunner().invoke(app, ["report", "--include", "smoke", "--backbone", "./large.toml"])
    assert "on large, mini edition" in result.stdout, result.output
