"""The cards and the technique in docs/adding-a-method.md work as printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.runs.builders import Bench, work_in_process
from tests.techniques.toys import toy_backbone
from vlbench.cards import MethodCard, load_method
from vlbench.cli.app import app
from vlbench.techniques import resolve_method, technique_faults
from vlbench.techniques.adapt import adapt, trained_parameters


@pytest.fixture
def examples(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the documented files; each block follows its file's name."""
    text = (project / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
    for name, body in re.findall(r"`([\w/-]+\.\w+)`[^\n]*:\n\n```\w+\n(.*?)```", text, re.DOTALL):
        (tmp_path / Path(name).name).write_text(body, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
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
    text = (project / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
    commands = re.findall(r"^vlbench (.+)$", text, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        result = CliRunner().invoke(app, shlex.split(command))
        assert result.exit_code == 0, result.output
    assert len(list(examples.glob("results/runs/*/adapter.safetensors"))) == 2
    assert "scale" in result.stdout
    assert "narrow-adapter" in result.stdout
