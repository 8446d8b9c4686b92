"""Code that the file of a project names runs with --outside-code only; so does what retry finds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import Result

from tests.cli.command import vlbench
from tests.runs.builders import Bench
from vlbench.runs.folder import RunFolder

EVIL = """
from pathlib import Path
Path("told").touch()
from vlbench.techniques.selective import BitFit
class X(BitFit):
    pass
def encoder(weights, device):
    raise SystemExit(0)
"""
SETTINGS = '[set]\ntechnique = "{}"\n'
PLAN = ("plan", "--method", "bitfit")
PARAMS = ("params", "--method", "bitfit", "--tasks", "vqav2")


pytestmark = pytest.mark.usefixtures("_forgotten")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bench: Bench) -> Path:
    """A folder that was cloned, with code; the user stands in it."""
    monkeypatch.delenv("VLBENCH_CONFIG")
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    (folder / "evil.py").write_text(EVIL)
    monkeypatch.chdir(folder)
    return folder


def assert_refused(result: Result, key: str) -> None:
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"vlbench: {Path.cwd() / 'vlbench.toml'}: {key}: names code to run")
    assert "--outside-code" in line
    assert not Path("told").exists()


@pytest.mark.parametrize("technique", ["evil:X", "adapter+evil:X"])
def test_a_technique_of_the_project_s_file_is_refused(project: Path, technique: str) -> None:
    (project / "vlbench.toml").write_text(SETTINGS.format(technique))
    for words in (
        (*PLAN, "--tasks", "vqav2"),
        ("run", "--method", "bitfit", "--tasks", "vqav2"),
        ("run", "--method", "bitfit", "--tasks", "vqav2", "--dry-run"),
        PARAMS,
        ("import-checkpoint", "x.pth", "--method", "bitfit", "--backbone", "mini-bart"),
    ):
        assert_refused(vlbench(*words), "set.technique")


def test_the_user_may_allow_it_and_what_he_names_himself_is_allowed(
    project: Path, tmp_path: Path
) -> None:
    file = project / "vlbench.toml"
    file.write_text(SETTINGS.format("evil:X"))

    def runs(*more: str, **environment: str) -> None:
        sys.modules.pop("evil", None)
        result = vlbench(*PARAMS, *more, **environment)
        assert result.exit_code == 0, result.stderr
        Path("told").unlink()

    runs("--outside-code")
    runs(VLBENCH_OUTSIDE_CODE="1")
    runs(VLBENCH_CONFIG=str(file))
    assert_refused(vlbench(*PARAMS), "set.technique")
    file.unlink()
    runs("--set", "technique=evil:X")
    runs(VLBENCH_SET="technique=evil:X")
    file.write_text("outside_code = true")  # a project cannot allow it itself
    result = vlbench(*PARAMS)
    assert result.exit_code == 2 and "Unknown key 'outside_code'" in result.stderr


def test_an_encoder_of_the_project_s_file_is_refused(project: Path) -> None:
    (project / "vlbench.toml").write_text('encoder = "evil:encoder"')
    assert_refused(vlbench(*PLAN, "--tasks", "vqav2"), "encoder")
    assert_refused(vlbench("data", "check"), "encoder")
    extract = ("data", "extract-features", "--images", ".", "--out", "store")
    assert_refused(vlbench(*extract), "encoder")
    typed = vlbench(*extract, "--encoder", "evil:encoder")
    assert typed.exit_code == 2
    assert "evil.py, line 8: SystemExit(0)" in typed.stderr
    assert Path("told").exists()


def test_a_task_card_of_the_project_s_file_is_refused_where_it_names_code(project: Path) -> None:
    lines = (Path(__file__).parents[2] / "tasks" / "vqav2.toml").read_text().splitlines()
    card = project / "mine.toml"
    (project / "vlbench.toml").write_text('tasks = ["gqa", "./mine.toml"]')
    for key in ("reader", "metric", "submission"):
        kept = [line for line in lines if not line.startswith(f"{key} = ")]
        card.write_text("\n".join([f'{key} = "evil:X"', *kept]))
        assert_refused(vlbench(*PLAN), "tasks")
        assert_refused(vlbench("data", "check"), "tasks")
    card.write_text("\n".join(lines))
    assert vlbench(*PARAMS).exit_code == 0


@pytest.mark.parametrize("line", ['setup = ["touch told"]', 'extra.task-prolog = "evil.sh"'])
def test_shell_lines_and_options_of_the_project_s_file_are_refused(
    project: Path, line: str, bench: Bench
) -> None:
    (project / "vlbench.toml").write_text(f'launcher = "slurm"\n[slurm]\n{line}\n')
    key = f"slurm.{line.split(' = ')[0].partition('.')[0]}"
    plan = (*PLAN, *bench.words()[3:], "--devices", "cpu")
    assert_refused(vlbench(*plan), key)
    assert_refused(vlbench("run", *plan[1:], "--dry-run"), key)
    assert_refused(vlbench("retry"), key)
    assert vlbench(*plan, "--launcher", "local").exit_code == 0
    allowed = vlbench("run", *plan[1:], "--dry-run", "--outside-code")
    assert allowed.exit_code == 0, allowed.stderr
    assert line.split('"')[1] in allowed.stdout


def test_retry_imports_what_specs_name_with_outside_code_only(project: Path, bench: Bench) -> None:
    """A cloned folder may hold results, too."""
    from vlbench.techniques import find_technique

    assert find_technique("evil:X")
    spec = bench.spec("bitfit", settings=("technique=evil:X",))
    folder = RunFolder.of(Path("results"), spec)
    folder.create(spec)
    folder.write_status("failed", 1)
    result = vlbench("retry")
    assert result.exit_code == 2
    assert "evil:X (--outside-code imports it)" in result.stderr
    assert folder.state == "failed" and not folder.log.exists()
