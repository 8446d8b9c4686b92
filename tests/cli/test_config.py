"""Configuration on the command line: what wins, `[set]`, slips of the pen."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.main import get_command

from tests.cli.command import vlbench
from vlbench.cli.app import app
from vlbench.cli.options import merged_settings
from vlbench.config import OPTIONS


@pytest.fixture(autouse=True)
def project_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a project that the working folder is in; it is not there yet."""
    monkeypatch.delenv("VLBENCH_SET", raising=False)
    monkeypatch.delenv("VLBENCH_CONFIG")
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "vlbench.toml"


def looked_in(*words: str, **environment: str) -> str:
    """The folder in which `list runs` found no runs."""
    result = vlbench("list", "runs", *words, **environment)
    assert result.exit_code == 4
    return result.stderr.removeprefix("vlbench: ").partition(":")[0]


def test_command_line_then_variable_then_file(project_file) -> None:
    assert looked_in() == "results"
    project_file.write_text('results = "/project"')
    assert looked_in() == "/project"
    assert looked_in(VLBENCH_RESULTS="/variable") == "/variable"
    assert looked_in("--results", "/typed", VLBENCH_RESULTS="/variable") == "/typed"


def test_keys_of_a_file_are_options_of_run_and_reach_every_command(project_file) -> None:
    project_file.write_text('tasks = ["vqav2", "gqa"]\nseeds = [0, 1]\nfeatures = ["f", "g"]\n')
    root = get_command(app)
    with root.make_context("vlbench", ["run"]) as context:
        _, run, _ = root.resolve_command(context, ["run"])
        values = run.make_context("run", ["--method", "full"], parent=context).params
        assert set(OPTIONS) <= values.keys()
        assert (values["tasks"], values["seeds"]) == ("vqav2,gqa", "0,1")
        assert list(values["features"]) == [project_file.parent / name for name in "fg"]
        _, report, _ = root.resolve_command(context, ["report"])
        values = report.make_context("report", [], parent=context).params
        assert list(values["tasks"]) == ["vqav2", "gqa"]


@pytest.mark.parametrize("value", ['"two"', "0", "1.5", "true", "[1, 2]"])
def test_a_value_of_another_type_is_one_message_with_file_and_key(project_file, value) -> None:
    project_file.write_text(f"jobs = {value}")
    result = vlbench("retry")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"vlbench: {project_file}: jobs: ")


def test_a_faulty_file_ends_with_2_but_for_help(project_file) -> None:
    project_file.write_text("jobs = = 2")
    for words in (["list", "suites"], ["data", "check"]):
        assert vlbench(*words).exit_code == 2
    for words in (["--help"], ["run", "--help"], ["--version"]):
        assert vlbench(*words).exit_code == 0


def test_settings_are_merged_key_by_key(project_file, monkeypatch, capsys) -> None:
    assert merged_settings(["a=1", "b"]) == ("a=1", "b")
    project_file.write_text(
        "[set.train]\nepochs = 1\nbatch_size = 1\nwarmup_ratio = 0.5\nnorms = false\n"
    )
    monkeypatch.setenv("VLBENCH_SET", "train.batch_size=2 sharing=all")
    written = ("train.warmup_ratio=0.5", "train.norms=false")
    assert merged_settings(["train.epochs = 3"]) == (
        *(*written, "train.batch_size=2", "sharing=all", "train.epochs = 3"),
    )
    notes = capsys.readouterr().err.splitlines()
    assert notes == [f"{project_file}: {setting}" for setting in written]


def test_settings_of_a_file_are_spelt_as_one_types_them(project_file) -> None:
    project_file.write_text(
        '[set]\nsharing = "all"\nparams.a = "8"\nparams.b = ["x", "y"]\nparams.c = "true"\n'
    )
    assert merged_settings(None) == (
        *("sharing=all", 'params.a="8"', 'params.b=["x", "y"]', 'params.c="true"'),
    )
