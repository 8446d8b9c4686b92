"""Outside code that ends its process: the run fails, and the code is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.runs.builders import Bench, do
from vlbench.cli.app import app

TECHNIQUE = """
import sys
from vlbench.techniques.selective import BitFit

class Quitter(BitFit):
    def {where}:
        sys.exit(0)
"""

pytestmark = pytest.mark.usefixtures("_forgotten")


@pytest.fixture
def card(tmp_path: Path) -> Path:
    file = tmp_path / "mine.toml"
    file.write_text('title = "Mine"\ntechnique = "quitter:Quitter"\n')
    return file


def write(card: Path, where: str) -> str:
    file = card.with_name("quitter.py")
    file.write_text(TECHNIQUE.format(where=where))
    return f"{file}, line 7: SystemExit(0) was raised there"


def test_a_run_whose_technique_ends_the_process_fails(
    bench: Bench, card: Path, tmp_path: Path
) -> None:
    text = write(card, "stepped(self, number, total)")
    folder = do(bench.spec(str(card)), tmp_path / "results", code=1)
    assert folder.state == "failed"
    assert folder.status()["error"].startswith(text)
    assert text in folder.log.read_text()


@pytest.mark.parametrize("words", [("plan",), ("run",), ("params",)])
def test_a_command_whose_technique_ends_the_process_exits_2(
    bench: Bench, card: Path, words: tuple[str, ...]
) -> None:
    text = write(card, "attach(self, backbone)")
    more = [] if words == ("params",) else bench.words()[5:]
    result = CliRunner().invoke(
        app, [*words, "--method", str(card), "--tasks", "vqav2,nlvr2", *more]
    )
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"vlbench: {text}" in result.stderr
