"""Every error ends in one message and its exit code; only a bug in vlbench shows a traceback."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from vlbench import __version__, errors
from vlbench.cli import app as cli


def vlbench(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vlbench", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )


def test_the_exit_codes_are_the_documented_ones() -> None:
    codes = {kind.__name__: kind.exit_code for kind in errors.VlbenchError.__subclasses__()}
    assert codes == {
        "RunFailed": 1,
        "WorseThanAllowed": 1,
        "UsageError": 2,
        "MissingError": 3,
        "NothingToReport": 4,
    }
    assert errors.CardError.exit_code == 2
    assert errors.DataError.exit_code == errors.JavaFailed.exit_code == 3


@pytest.mark.parametrize("words", [["lst"], ["list"], ["list", "methods", "--jsn"], ["--nope"]])
def test_words_that_do_not_fit_exit_2_without_a_traceback(words: list[str]) -> None:
    result = vlbench(*words)
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert "Usage: vlbench" in result.stderr


def test_a_long_message_is_one_line_off_a_terminal() -> None:
    result = vlbench("show", "compactor", COLUMNS="40")
    assert result.returncode == 2
    assert result.stderr.startswith("vlbench: Nothing called 'compactor' to show. Did you mean")
    assert result.stderr.count("\n") == 1
    assert "\x1b" not in result.stderr


def test_the_version_is_told() -> None:
    assert vlbench("--version").stdout == f"vlbench {__version__}\n"


def test_an_option_has_an_environment_variable() -> None:
    assert vlbench("list", "suites", VLBENCH_JSON="1").stdout.startswith("{")


@pytest.mark.parametrize(
    ("raised", "code", "text"),
    [
        (errors.MissingError("no Java"), 3, "vlbench: no Java\n"),
        (errors.NothingToReport("no runs"), 4, "vlbench: no runs\n"),
        (KeyboardInterrupt(), 130, "vlbench: interrupted\n"),
    ],
)
def test_an_error_within_a_command_ends_in_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int, text: str
) -> None:
    fail(monkeypatch, raised)
    result = CliRunner().invoke(cli.app, ["list", "suites"])
    assert result.exit_code == code
    assert result.stderr == text


@pytest.mark.parametrize("raised", [ZeroDivisionError("a slip"), ValueError("a slip")])
def test_a_bug_exits_5_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], raised: Exception
) -> None:
    fail(monkeypatch, raised)
    monkeypatch.setattr(sys, "argv", ["vlbench", "list", "suites"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 5
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert "a bug in vlbench" in error


def fail(monkeypatch: pytest.MonkeyPatch, raised: BaseException) -> None:
    def raise_it(*_: object) -> None:
        raise raised

    monkeypatch.setattr("vlbench.cards.load.load_suites", raise_it)
