"""Plain lines off a terminal, a bar on one, all in the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlbench.running import progress as module
from vlbench.running.progress import BarProgress, Progress, describe, new_progress
from vlbench.training.trainer import Step


def step(number: int, loss: float = 0.5) -> Step:
    return Step(number, 20, 1, "gqa", loss, 1e-3, 123.4, 67.8)


def test_a_step_is_told_with_loss_rate_and_what_is_left() -> None:
    assert describe(step(5)) == (
        "step 5/20  epoch 1  gqa  loss 0.500  lr 1.00e-03  123 examples/s  eta 68 s"
    )


def test_lines_are_few_and_stand_in_the_log_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.txt"
    progress = new_progress(log)
    assert type(progress) is Progress
    for number in range(1, 21):
        progress.step(step(number))
    progress.say("testing")
    progress.close()
    out, err = capsys.readouterr()
    assert out == ""
    told = [line.split("  ")[0] for line in err.splitlines()]
    assert told == ["step 1/20", "step 20/20", "testing"]
    assert [line[21:] for line in log.read_text().splitlines()] == err.splitlines()


def test_a_terminal_gets_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    progress = new_progress(tmp_path / "log.txt")
    assert isinstance(progress, BarProgress)
    with progress._bars.console.capture():
        for number in range(1, 21):
            progress.step(step(number, loss=number))
        progress.say("markup [bold] stays")
        progress.close()
    assert progress._bars.finished
    assert "markup [bold] stays" in (tmp_path / "log.txt").read_text()
