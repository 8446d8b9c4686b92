"""Configuration on the command line: what wins, `[set]`, `show config`, slips of the pen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from tests.cli.command import items, vlbench
from vlbench.cli.app import app
from vlbench.cli.options import merged_settings
from vlbench.config import NOT_OPTIONS, Settings


@pytest.fixture(autouse=True)
def project_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a project that the working folder is in; it is not there yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
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


def test_command_line_then_variable_then_project_then_user(project_file, tmp_path) -> None:
    assert looked_in() == "results"
    user = tmp_path / "home" / "vlbench" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text('results = "/user"')
    assert looked_in() == "/user"
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
        assert set(Settings.model_fields) - NOT_OPTIONS <= values.keys()
        assert (values["tasks"], values["seeds"]) == ("vqav2,gqa", "0,1")
        assert list(values["features"]) == [project_file.parent / name for name in "fg"]
        _, report, _ = root.resolve_command(context, ["report"])
        values = report.make_context("report", [], parent=context).params
        assert list(values["tasks"]) == ["vqav2,gqa"]


def test_a_faulty_file_is_one_message_and_exit_2_but_for_help(project_file) -> None:
    project_file.write_text('jobs = "two"')
    message = f'vlbench: {project_file}: jobs: Should be a valid integer, found "two".\n'
    for words in (["list", "suites"], ["show", "config"], ["data", "check"]):
        result = vlbench(*words)
        assert (result.exit_code, result.stdout, result.stderr) == (2, "", message)
    project_file.write_text("jobs = = 2")
    for words in (["--help"], ["run", "--help"], ["--version"]):
        assert vlbench(*words).exit_code == 0


def test_a_slip_in_a_variable_is_told_and_nothing_fails() -> None:
    result = vlbench("list", "suites", VLBENCH_RESLTS="x", VLBENCH_LIMIT="3", VLBENCH_FAKE_GPUS="2")
    assert result.exit_code == 0
    assert result.stderr == (
        "vlbench: nothing reads the variable VLBENCH_RESLTS. Did you mean VLBENCH_RESULTS?\n"
    )


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


def test_show_config_says_where_each_value_came_from(project_file) -> None:
    project_file.write_text(
        'backbone = "clip-t5"\nfeatures = ["f"]\ncache = "kept"\n[set]\ntrain.epochs = 3\n'
        'train.batch_size = 4\n[slurm]\npartition = "gpu"\nextra.nice = 1\n'
    )
    variables = {
        "VLBENCH_CACHE": "",
        "VLBENCH_LIMIT": "5",
        "VLBENCH_COSTS": "1",
        "VLBENCH_SET": "train.epochs=9",
    }
    listed = items(vlbench("show", "config", "--json", **variables), "show")
    assert {item["kind"] for item in listed} == {"config"}
    file = str(project_file)
    expected: dict[str, tuple[Any, str]] = {
        "backbone": ("clip-t5", file),
        "features": ([str(project_file.parent / "f")], file),
        "limit": ("5", "VLBENCH_LIMIT"),
        "costs": ("1", "VLBENCH_COSTS"),
        "seeds": ("0", "built-in"),
        "root": (None, "built-in"),
        "cache": (str(project_file.parent / "kept"), file),
        "set.train.epochs": ("9", "VLBENCH_SET"),
        "set.train.batch_size": (4, file),
        "slurm.partition": ("gpu", file),
        "slurm.extra.nice": (1, file),
        "slurm.signal_seconds": (90, "built-in"),
    }
    values = {item["key"]: (item["value"], item["source"]) for item in listed}
    assert {key: values[key] for key in expected} == expected
    lines = [line.split() for line in vlbench("show", "config").stdout.splitlines()]
    assert lines[0] == ["key", "value", "from"]
    assert ["backbone", "clip-t5", file] in lines and ["edition", "-", "built-in"] in lines
