"""docs/your-data.md: its card and its commands work as printed."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.command import vlbench
from tests.runs.builders import Bench, work_in_process

SHADES = {"stop": (200, 20, 20), "yield": (220, 40, 30), "park": (20, 20, 200)}


@pytest.fixture
def commands(
    project: Path, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[list[str]]:
    """The documented commands, in a folder with the documented files and more of the kind."""
    text = (project / "docs/your-data.md").read_text("utf-8")
    files = re.findall(r"`([\w.]+)`(?:, [^\n]*)?:\n\n```\w+\n(.*?)```", text, re.DOTALL)
    assert [name for name, _ in files] == ["signs.jsonl", "signs.toml", "street.toml"]
    for name, body in files:
        (tmp_path / name).write_text(body, "utf-8")
    documented = [json.loads(line) for line in files[0][1].splitlines()]
    (tmp_path / "photos").mkdir()
    with (tmp_path / "signs.jsonl").open("a", encoding="utf-8") as lines:
        for number in range(18):
            name, colour = f"{number}.jpg", ("red", "blue")[number % 2]
            record = {**documented[1], "id": number, "image": f"photos/{name}", "answer": colour}
            lines.write(json.dumps(record) + "\n")
            shade = SHADES["park" if number % 2 else "stop"]
            Image.new("RGB", (64, 64 + number), shade).save(tmp_path / "photos" / name)
    for record in documented:
        Image.new("RGB", (64, 48), SHADES[Path(record["image"]).stem]).save(
            tmp_path / record["image"]
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLBENCH_BACKBONE_PATH", str(bench.backbone))  # a smaller one
    monkeypatch.setenv("VLBENCH_SET", "train.epochs=1")
    typed = re.findall(r"^vlbench (.+)$", text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in typed]


def test_the_documented_data_are_checked_and_previewed(commands: list[list[str]]) -> None:
    for words in commands[:2]:
        result = vlbench(*words)
        assert result.exit_code == 0, result.stderr
    assert "What colour is the sign?" in Path("signs.html").read_text("utf-8").replace(
        "what", "What"
    )


@pytest.mark.slow
def test_the_documented_commands_end_in_a_compared_table(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    work_in_process(monkeypatch)
    for words in commands:
        result = vlbench(*words)
        assert result.exit_code == 0, result.stderr
    assert len(list(Path("results/runs").iterdir())) == 4
    assert "signs" in result.stdout and "frozen" in result.stdout
