"""Progress: lines off a terminal, bars on one."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from tests.runs.test_folder import TRAINING
from tests.runs.test_spec import SPEC
from vlbench.runs.folder import RunFolder
from vlbench.runs.spec import RunSpec
from vlbench.runs.watch import BarsView, Progress, View, new_view, without_time

SPECS = [SPEC.model_copy(update={"seed": seed}) for seed in range(12)]
OTHER = SPECS[1]
TIME = "2026-11-23 08:40:00  "


def folder_of(results: Path, spec: RunSpec = SPEC) -> RunFolder:
    folder = RunFolder.of(results, spec)
    folder.create(spec)
    return folder


def log(folder: RunFolder, text: str) -> None:
    with folder.log.open("a") as file:
        file.write(text)


def test_one_run_has_the_whole_lines_of_its_log_without_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    view, folder = View(1), folder_of(tmp_path)
    log(folder, f"{TIME}of an earlier attempt\n")
    view.began(SPEC, folder, "GPU 0")
    log(folder, f"{TIME}attempt 2\n{TIME}step 1/9  loss 2.0\na warning, raw\n{TIME}half a ")
    view.tick()
    assert capsys.readouterr().err.splitlines() == [
        *("mine, gqa, mini-bart, seed 0 (GPU 0)", "attempt 2", "step 1/9  loss 2.0"),
        "a warning, raw",
    ]
    log(folder, f"line\n{TIME}done\nKilled")
    view.tick()
    assert capsys.readouterr().err == "half a line\n"
    view.ended(SPEC, folder, "stopped")
    assert capsys.readouterr().err == "Killed\nmine seed 0: stopped\n"
    assert without_time("2026 was a year") == "2026 was a year"


def test_several_runs_have_their_names_before_and_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    view, folders = View(3), [folder_of(tmp_path, spec) for spec in SPECS[:3]]
    for spec, folder in zip(SPECS[:2], folders, strict=False):
        view.began(spec, folder, "cpu")
        log(folder, f"{TIME}words of {spec.seed}\n")
    view.tick()
    view.ended(OTHER, folders[1], "failed: no")
    log(folders[1], f"{TIME}somebody else goes on\n")
    view.tick()
    view.ended(SPECS[2], folders[2], "cancelled")  # it never began
    assert capsys.readouterr().err.splitlines()[2:] == [
        *("mine seed 0: words of 0", "mine seed 1: words of 1"),
        *("mine seed 1: failed: no (1/3 runs)", "mine seed 2: cancelled (2/3 runs)"),
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bars_are_for_terminals_that_can_move_their_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert type(new_view(2)) is View
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert type(new_view(2)) is BarsView
    monkeypatch.setenv("TERM", "dumb")
    assert type(new_view(2)) is View


class Screen:
    """A view of runs on a terminal of our own."""

    def __init__(self, width: int = 120, total: int = 3, **environment: str) -> None:
        self.stream = io.StringIO()
        console = Console(
            file=self.stream, force_terminal=True, width=width, height=6, _environ=environment
        )
        self.view = BarsView(total, console)
        self.width = width

    def begin(self, results: Path, spec: RunSpec = SPEC, where: str = "GPU 0") -> RunFolder:
        folder = folder_of(results, spec)
        self.view.began(spec, folder, where)
        return folder

    def bars(self) -> list[str]:
        """The bars as they are now, without colours and cursor movements."""
        self.view.tick()
        flat = Console(file=io.StringIO(), width=self.width, _environ={})
        with flat.capture() as capture:
            flat.print(self.view._bars.get_renderable())
        return [line.rstrip() for line in capture.get().splitlines()]

    def lines(self) -> str:
        """Everything written so far, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.stream.getvalue())


def test_each_run_at_work_has_a_bar_and_the_plan_its_count(tmp_path: Path) -> None:
    screen, folder = Screen(), folder_of(tmp_path)
    folder.write_status("running", 1, **TRAINING)
    screen.begin(tmp_path)
    assert "starting" in screen.bars()[1]  # what an earlier attempt said
    screen.begin(tmp_path, OTHER, "GPU 1")
    with folder.lock.acquire():
        plan, first, second = screen.bars()
    assert first.startswith("mine seed 0")
    assert first.endswith("epoch 2  1,200/2,400  eta 12 min 13 s  loss 2.314  181 ex/s")
    assert re.fullmatch(r"mine seed 1  *━* *starting", second)
    assert plan.startswith("0/3 runs") and plan.endswith("2 at work")
    screen.view.ended(OTHER, folder_of(tmp_path, OTHER), "done in 3 s")
    plan, first = screen.bars()
    assert plan.startswith("1/3 runs")
    assert "mine seed 1: done in 3 s (1/3 runs)\n" in screen.lines()


@pytest.mark.parametrize("is_shown", [True, False])
def test_lines_are_few_and_stand_in_the_log_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], is_shown: bool
) -> None:
    progress = Progress(tmp_path / "log.txt", is_shown)
    for number in range(1, 21):
        step = SimpleNamespace(
            **{"number": number, "total": 20, "epoch": 1, "task": "gqa", "loss": 0.5},
            **{"learning_rate": 1e-3, "examples_per_second": 123.4, "seconds_left": 67.8},
        )
        progress.step(step)  # type: ignore[arg-type]
    progress.say("testing")
    lines = [line[21:] for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert lines == [
        "step 1/20  epoch 1  gqa  loss 0.500  lr 1.00e-03  123 examples/s  eta 68 s",
        "step 20/20  epoch 1  gqa  loss 0.500  lr 1.00e-03  123 examples/s  eta 68 s",
        "testing",
    ]
    out, err = capsys.readouterr()
    assert (out, err.splitlines()) == ("", lines if is_shown else [])
