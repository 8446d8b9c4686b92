"""Progress as bars: what a plan shows on a terminal."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from tests.running.test_spec import SPEC
from tests.running.test_watch import made, say
from vlbench.running.folder import RunFolder
from vlbench.running.spec import RunSpec
from vlbench.running.watch import BarsView, described

OTHER = SPEC.model_copy(update={"seed": 1})
TIME = "2026-11-23 08:40:00  "
TRAINING = {
    "phase": "training",
    "step": 1200,
    "total": 2400,
    "epoch": 2,
    "loss": 2.3141,
    "examples_per_second": 181.4,
    "seconds_left": 733.2,
}


class Screen:
    """A view of three runs on a terminal of our own."""

    def __init__(self, width: int = 120, height: int = 24, total: int = 3) -> None:
        self.stream = io.StringIO()
        console = Console(
            file=self.stream, force_terminal=True, width=width, height=height, _environ={}
        )
        self.view = BarsView(total, console)
        self.width, self.height = width, height

    def bars(self) -> list[str]:
        """The bars as they are now, without colours and cursor movements."""
        flat = Console(file=io.StringIO(), width=self.width, height=self.height, _environ={})
        with flat.capture() as capture:
            flat.print(self.view._table())
        return [line.rstrip() for line in capture.get().splitlines()]

    def lines(self) -> str:
        """Everything written so far, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.stream.getvalue())


def working(screen: Screen, results: Path, spec: RunSpec = SPEC, where: str = "GPU 0") -> RunFolder:
    folder = made(results, spec)
    screen.view.began(spec, folder, where)
    return folder


def test_each_run_at_work_has_a_bar_and_the_plan_its_count(tmp_path: Path) -> None:
    screen = Screen()
    folder = working(screen, tmp_path)
    folder.write_status("running", 1, **TRAINING)
    working(screen, tmp_path, OTHER, "GPU 1")
    first, second, plan = screen.bars()
    for text in ("GPU 0", "epoch 2", "1,200/2,400", "loss 2.314", "181 ex/s", "eta 12 min 13 s"):
        assert text in first
    assert re.fullmatch(r"mine seed 1  .*GPU 1  starting", second)
    assert plan.startswith("0/3 runs")
    screen.view.ended(OTHER, made(tmp_path, OTHER), "done in 3 s")
    first, plan = screen.bars()
    assert plan.startswith("1/3 runs")
    assert "mine seed 1: done in 3 s\n" in screen.lines()


def test_a_plan_of_one_run_has_no_count(tmp_path: Path) -> None:
    screen = Screen(total=1)
    working(screen, tmp_path)
    assert len(screen.bars()) == 1


def test_notes_stand_above_and_steps_do_not(tmp_path: Path) -> None:
    screen = Screen()
    folder = working(screen, tmp_path)
    say(folder, f"{TIME}attempt 1\n{TIME}step 1/9  loss 2\n")
    screen.view.tick()
    screen.view.say("three runs are done before")
    assert "mine seed 0: attempt 1\n" in screen.lines()
    assert "three runs are done before\n" in screen.lines()
    assert "step 1/9" not in screen.lines()


@pytest.mark.parametrize("width", [120, 80, 60, 40, 20])
def test_no_terminal_is_too_narrow(tmp_path: Path, width: int) -> None:
    screen = Screen(width)
    folder = working(screen, tmp_path)
    folder.write_status("running", 1, **TRAINING)
    first, plan = screen.bars()
    assert len(first) <= width and len(plan) <= width
    assert first.startswith("mine seed 0")
    assert ("1,200/2,400  eta 12 min 13 s" in first) == (width == 60)


def test_what_does_not_fit_below_another_is_counted(tmp_path: Path) -> None:
    screen = Screen(height=6, total=40)
    for seed in range(12):
        working(screen, tmp_path, SPEC.model_copy(update={"seed": seed}), "slurm")
    assert len(screen.bars()) == 4
    assert screen.bars()[-1].startswith("0/40 runs, 12 at work")


def test_what_an_earlier_attempt_said_is_not_shown(tmp_path: Path) -> None:
    screen = Screen()
    folder = made(tmp_path, SPEC)
    folder.write_status("running", 1, **TRAINING)
    screen.view.began(SPEC, folder, "GPU 0")
    assert "starting" in screen.bars()[0]
    folder.write_status("running", 2, **{**TRAINING, "step": 1201})
    assert "1,201/2,400" in screen.bars()[0]


def test_a_run_of_another_command_is_followed_from_where_it_is(tmp_path: Path) -> None:
    screen = Screen()
    folder = made(tmp_path, SPEC)
    folder.write_status("running", 1, **TRAINING)
    with folder.lock.acquire("cpu"):
        screen.view.began(SPEC, folder, "held by another command: node7 cpu")
        assert re.search("elsewhere  epoch 2  1,200/2,400", screen.bars()[0])
    assert "mine seed 0: held by another command: node7 cpu\n" in screen.lines()


@pytest.mark.parametrize("phase", ["preparing", "validating", "testing"])
def test_phases_without_steps_have_their_name(phase: str) -> None:
    assert described({"phase": phase, "step": 4, "total": 8}, "cpu") == {
        "where": "cpu",
        "phase": phase,
        "step": "4/8",
    }


def test_the_cursor_is_back_and_the_bars_are_gone_when_it_is_closed(tmp_path: Path) -> None:
    screen = Screen()
    working(screen, tmp_path)
    assert screen.stream.getvalue().count("\x1b[?25l") == 1
    screen.view.close()
    screen.view.close()
    assert screen.stream.getvalue().count("\x1b[?25h") == 1
    assert screen.stream.getvalue().endswith("\x1b[2K")


def test_a_view_that_showed_nothing_leaves_no_trace() -> None:
    screen = Screen()
    screen.view.close()
    assert screen.stream.getvalue() == ""


def test_colours_are_left_out_where_the_user_wants_none(tmp_path: Path) -> None:
    for environment, is_coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        stream = io.StringIO()
        view = BarsView(
            1, Console(file=stream, force_terminal=True, width=80, _environ=environment)
        )
        folder = made(tmp_path, SPEC)
        view.began(SPEC, folder, "cpu")
        folder.write_status("running", 1, **TRAINING)
        view.tick()
        view.close()
        assert (
            bool(re.search(r"\x1b\[[0-9;]*3[0-9]|\x1b\[9[0-9]m", stream.getvalue())) == is_coloured
        )
