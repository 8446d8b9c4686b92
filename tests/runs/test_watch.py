"""Progress as lines: what a plan shows off a terminal."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.runs.test_spec import METHOD, SPEC
from vlbench.runs.folder import RunFolder
from vlbench.runs.spec import RunSpec
from vlbench.runs.watch import (
    PROGRESS,
    BarsView,
    Names,
    Overview,
    Progress,
    View,
    describe,
    described,
    is_step,
    new_view,
    told,
    without_time,
)
from vlbench.training.train import Step

OTHER = SPEC.model_copy(update={"seed": 1})
TIME = "2026-11-23 08:40:00  "


class Plan:
    """A view and what it wrote."""

    def __init__(self, total: int) -> None:
        self.stream = io.StringIO()
        self.view = View(total, self.stream)

    def new(self) -> list[str]:
        """The lines since it was last asked."""
        lines = self.stream.getvalue().splitlines()
        self.stream.seek(0)
        self.stream.truncate()
        return lines


def made(results: Path, spec: RunSpec) -> RunFolder:
    folder = RunFolder.of(results, spec)
    folder.create(spec)
    return folder


def say(folder: RunFolder, text: str) -> None:
    with folder.log.open("a") as file:
        file.write(text)


def test_one_run_has_the_lines_of_its_log_without_times(tmp_path: Path) -> None:
    plan, folder = Plan(1), made(tmp_path, SPEC)
    say(folder, f"{TIME}of an earlier attempt\n")
    plan.view.began(SPEC, folder, "GPU 0")
    assert plan.new() == ["mine, gqa, mini-bart, seed 0 (GPU 0)"]
    say(folder, f"{TIME}attempt 2\n{TIME}step 1/9  loss 2.0\na warning, raw\n")
    plan.view.tick()
    assert plan.new() == ["attempt 2", "step 1/9  loss 2.0", "a warning, raw"]
    plan.view.tick()
    assert plan.new() == []
    say(folder, f"{TIME}done\n")
    plan.view.ended(SPEC, folder, "done in 3 s")
    assert plan.new() == ["mine seed 0: done in 3 s"]


def test_several_runs_have_their_names_before_and_are_counted(tmp_path: Path) -> None:
    plan = Plan(3)
    first, second = made(tmp_path, SPEC), made(tmp_path, OTHER)
    plan.view.began(SPEC, first, "cpu 0")
    plan.view.began(OTHER, second, "cpu 1")
    plan.new()
    say(first, f"{TIME}one\n")
    say(second, f"{TIME}two\n")
    plan.view.tick()
    assert plan.new() == ["mine seed 0: one", "mine seed 1: two"]
    plan.view.ended(OTHER, second, "failed: no")
    assert plan.new() == ["mine seed 1: failed: no (1/3 runs)"]
    say(second, f"{TIME}somebody else goes on\n")
    plan.view.tick()
    assert plan.new() == []


def test_a_line_shows_when_it_is_whole_and_at_the_end_as_it_is(tmp_path: Path) -> None:
    plan, folder = Plan(1), made(tmp_path, SPEC)
    plan.view.began(SPEC, folder, "cpu")
    plan.new()
    say(folder, f"{TIME}half a ")
    plan.view.tick()
    assert plan.new() == []
    say(folder, "line\nKilled")
    plan.view.tick()
    assert plan.new() == ["half a line"]
    plan.view.ended(SPEC, folder, "stopped")
    assert plan.new() == ["Killed", "mine seed 0: stopped"]


def test_a_run_that_never_began_can_end(tmp_path: Path) -> None:
    plan = Plan(2)
    plan.view.ended(SPEC, made(tmp_path, SPEC), "cancelled")
    assert plan.new() == ["mine seed 0: cancelled (1/2 runs)"]


def test_two_runs_of_one_short_name_have_their_full_names() -> None:
    names = Names()
    other = SPEC.model_copy(
        update={"method": METHOD.model_copy(update={"params": {"reduction": 4}}), "suite": "b"}
    )
    assert names.of(SPEC) == "mine seed 0"
    assert names.of(other) == "mine, b, mini-bart, seed 0"
    assert names.of(SPEC) == "mine seed 0"


def test_times_and_steps_are_known() -> None:
    assert without_time(f"{TIME}step 3/9  epoch 1") == "step 3/9  epoch 1"
    assert without_time("2026 was a year") == "2026 was a year"
    assert is_step("step 3/9  epoch 1")
    assert not is_step("stepping back") and not is_step("epoch 1 validation")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bars_are_for_terminals_that_can_move_their_cursor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(new_view(2), View)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert isinstance(new_view(2), BarsView)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(new_view(2), View)


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


SPECS = [SPEC.model_copy(update={"seed": seed}) for seed in range(4)]


def test_runs_at_work_come_first_with_their_progress(tmp_path: Path) -> None:
    done, failed, running, planned = (made(tmp_path, spec) for spec in SPECS)
    done.result.touch()
    failed.write_status("failed", 1, error="first\nfailed: last", **TRAINING)
    running.write_status("running", 1, **TRAINING)
    with running.lock.acquire("GPU 0"):
        items = Overview(tmp_path).items()
    assert [item["status"] for item in items] == ["running", "failed", "done", "planned"]
    first, second, *_ = items
    assert {name: first[name] for name in PROGRESS} == TRAINING
    assert first["where"].endswith(" GPU 0") and first["error"] == ""
    assert second["error"] == "first\nfailed: last" and second["where"] == ""
    assert {second[name] for name in PROGRESS} == {None}
    assert planned.path.name == items[3]["key"]


def test_what_changed_is_seen_and_what_cannot_change_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path, SPEC)
    overview = Overview(tmp_path)
    assert overview.items()[0]["status"] == "planned"
    folder.write_status("failed", 1, error="no")
    monkeypatch.setattr(RunSpec, "read", None)
    assert overview.items()[0]["status"] == "failed"
    folder.result.touch()
    assert overview.items()[0]["status"] == "done"
    monkeypatch.setattr("vlbench.runs.watch._now", None)
    assert overview.items()[0]["status"] == "done"


def test_progress_in_words() -> None:
    assert told({}) == {"phase": "starting"}
    assert told({"phase": "training"}) == {"phase": "training"}
    assert told({"phase": "training", "epoch": 1}) == {"phase": "epoch 1"}
    assert told(TRAINING) == {
        "phase": "epoch 2",
        "step": "1,200/2,400",
        "loss": "2.314",
        "rate": "181",
        "left": "12 min 13 s",
    }


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
