"""Progress as lines: what a plan shows off a terminal."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from tests.running.test_spec import METHOD, SPEC
from vlbench.running.folder import RunFolder
from vlbench.running.spec import RunSpec
from vlbench.running.watch import BarsView, Names, View, is_step, new_view, without_time

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
