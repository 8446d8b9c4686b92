"""The example for CI: its workflow calls what there is, its script passes what is equal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.leaderboard.scored import write_image_text

HOME = Path(__file__).resolve().parents[2]
EXAMPLE = HOME / "examples" / "ci"
SCRIPT = EXAMPLE / "smoke.sh"
SMOKE: dict[str, Any] = {"scope": "smoke", "limit": 300, "settings": "train.epochs=2"}
COMMAND = """#!/usr/bin/env bash
# Stands for vlbench: `run` takes prepared results, anything else is the real command.
if [ "$1" = run ]; then
    mkdir -p "${@: -1}" && cp -r "$PREPARED/runs" "${@: -1}"
else
    exec "$PYTHON" -m vlbench "$@"
fi
"""


def smoke(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a step of the workflow does."""
    return subprocess.run(
        [str(SCRIPT), *words],
        env={**os.environ, "PYTHON": sys.executable, **variables},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, where training is a matter of copying."""
    command = tmp_path / "bin" / "vlbench"
    command.parent.mkdir()
    command.write_text(COMMAND, "utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.chdir(tmp_path)
    for name, counts in {"good": (50, 30, 40, 40), "bad": (20, 30, 40, 40)}.items():
        write_image_text(tmp_path / name, "shared-adapter", *counts, **SMOKE)
    return tmp_path


def gated(prepared: str, baseline: str, **variables: str) -> subprocess.CompletedProcess[str]:
    shutil.rmtree("ci-results", ignore_errors=True)
    return smoke(PREPARED=prepared, CI_BASELINE=baseline, **variables)


def test_the_script_passes_an_equal_run_and_keeps_its_results(place: Path) -> None:
    done = gated("good", "good")
    assert done.returncode == 0, done.stderr
    assert "Gate passed: 5 compared" in done.stdout
    assert list(place.glob("ci-results/runs/*/result.parquet"))
    assert '"is_passed": true' in (place / "ci-results" / "gate.json").read_text("utf-8")


def test_the_script_fails_a_worse_run(place: Path) -> None:
    summary = place / "summary.md"
    done = gated("bad", "good", GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 1
    assert "vqav2 dropped by" in done.stdout
    assert "| vqav2 accuracy" in summary.read_text("utf-8")
    assert '"is_passed": false' in (place / "ci-results" / "gate.json").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_real_benchmark_passes_the_baseline_and_fails_when_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two trainings, each half a minute on two idle cores."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    equal, damaged = tmp_path / "equal", tmp_path / "damaged"
    done = smoke(CI_RESULTS=str(equal))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Gate passed: 5 compared" in done.stdout

    card = tmp_path / "shared-adapter.toml"
    text = (HOME / "methods" / "shared-adapter.toml").read_text("utf-8")
    card.write_text(text.replace("learning_rate = 3e-3", "learning_rate = 1e-9"), "utf-8")
    assert card.read_text("utf-8") != text
    done = smoke(str(card), CI_RESULTS=str(damaged))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "coco dropped by" in done.stdout and "average dropped by" in done.stdout
    assert "The cards of A and B differ" in done.stdout

    renewed = tmp_path / "baseline"
    subprocess.run(
        [str(EXAMPLE / "renew-baseline.sh"), str(equal)],
        env={**os.environ, "CI_BASELINE": str(renewed)},
        check=True,
        capture_output=True,
        timeout=300,
    )
    words = ["--results", str(equal), "--baseline", str(renewed), "--include", "smoke"]
    done = subprocess.run(
        ["vlbench", "compare", "shared-adapter", *words, "--max-drop", "0"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
