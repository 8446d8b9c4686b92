"""What a worker inherits."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlbench.process import SPINS, worker_environment


def test_nothing_of_an_enclosing_job_reaches_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "MASTER_PORT", "SLURM_JOB_ID", "OMPI_COMM_WORLD_RANK", "PMI_SIZE"):
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "here"))
    monkeypatch.setenv("PMIND", "not one of them")
    environment = worker_environment(threads=3, devices="1,2")
    assert not {"RANK", "MASTER_PORT", "SLURM_JOB_ID", "OMPI_COMM_WORLD_RANK", "PMI_SIZE"} & set(
        environment
    )
    assert environment["VLBENCH_CACHE"].endswith("/here")
    assert environment["PMIND"] == "not one of them"
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["CUDA_VISIBLE_DEVICES"] == "1,2"


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    environment = worker_environment()
    assert environment["OMP_WAIT_POLICY"] == "ACTIVE"
    assert "GOMP_SPINCOUNT" not in environment  # it would count more
    assert "CUDA_VISIBLE_DEVICES" not in environment


def test_make_bench_measures_with_threads_that_wait_as_those_of_workers() -> None:
    makefile = Path(__file__).parents[2] / "Makefile"
    assert f"bench: export GOMP_SPINCOUNT ?= {SPINS}\n" in makefile.read_text(encoding="utf-8")


def test_threads_that_wait_spin_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert worker_environment()["GOMP_SPINCOUNT"] == SPINS
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert worker_environment()["GOMP_SPINCOUNT"] == "7"
