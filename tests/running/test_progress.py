"""Lines of a worker: in the log, and on stderr where somebody looks."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlbench.running.watch import Progress, describe
from vlbench.training.trainer import Step


def step(number: int, loss: float = 0.5) -> Step:
    return Step(number, 20, 1, "gqa", loss, 1e-3, 123.4, 67.8)


def test_a_step_is_told_with_loss_rate_and_what_is_left() -> None:
    assert describe(step(5)) == (
        "step 5/20  epoch 1  gqa  loss 0.500  lr 1.00e-03  123 examples/s  eta 68 s"
    )


@pytest.mark.parametrize("is_shown", [True, False])
def test_lines_are_few_and_stand_in_the_log_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], is_shown: bool
) -> None:
    log = tmp_path / "log.txt"
    progress = Progress(log, is_shown)
    for number in range(1, 21):
        progress.step(step(number))
    progress.say("testing")
    told = [line[21:] for line in log.read_text().splitlines()]
    assert [line.split("  ")[0] for line in told] == ["step 1/20", "step 20/20", "testing"]
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == (told if is_shown else [])
