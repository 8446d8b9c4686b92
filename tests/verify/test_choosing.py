"""Which runs are meant: names, filters, and what is said where none is left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlbench.errors import NothingToReport, UsageError
from vlbench.verify.choosing import Filters, choose, done_runs


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for number, (method, seed) in enumerate([("full", 0), ("full", 1), ("shared-adapter", 0)]):
        run = tmp_path / "runs" / f"{number:016x}"
        run.mkdir(parents=True)
        spec = {"method": {"name": method}, "suite": "image-text", "seed": seed}
        spec |= {"backbone": "mini-bart", "edition": "mini"}
        (run / "spec.json").write_text(json.dumps(spec))
        (run / "result.parquet").touch()
    return tmp_path


def numbers(runs: list[Path]) -> list[int]:
    return [int(run.name, 16) for run in runs]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(), [0, 1, 2]),
        (Filters(methods=["full"]), [0, 1]),
        (Filters(methods=["single-adapter,full"], seeds=[0]), [0, 2]),
        (Filters(methods=["./mine/full.toml"], seeds=[1, 7]), [1]),
        (Filters(tasks=["image-text"], backbones=["mini-bart"], editions=["mini"]), [0, 1, 2]),
        (Filters(tasks=["vqav2", "gqa,nlvr2,coco"]), [0, 1, 2]),
    ],
)
def test_filters_leave_what_is_asked_for(
    results: Path, filters: Filters, expected: list[int]
) -> None:
    assert numbers(choose(results, (), filters)) == expected


def test_runs_are_named_by_the_begin_of_their_keys(results: Path) -> None:
    assert numbers(choose(results, [f"{2:016x}", f"{0:016x}"], Filters())) == [0, 2]


def test_a_run_whose_spec_cannot_be_read_is_left_out_by_no_filter(results: Path) -> None:
    (results / "runs" / f"{2:016x}" / "spec.json").write_text("{}")
    assert numbers(choose(results, (), Filters(methods=["full"], seeds=[0]))) == [0, 2]


def test_a_run_that_says_it_is_done_counts_without_its_result(results: Path) -> None:
    run = results / "runs" / f"{0:016x}"
    (run / "result.parquet").unlink()
    assert numbers(done_runs(results)) == [1, 2]
    (run / "status.json").write_text('{"status": "done"}')
    assert numbers(done_runs(results)) == [0, 1, 2]


def test_a_named_run_that_is_not_done_is_refused(results: Path) -> None:
    (results / "runs" / f"{0:016x}" / "result.parquet").unlink()
    with pytest.raises(UsageError, match="not done: 0000000000000000"):
        choose(results, [f"{0:016x}"], Filters())


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        (Filters(methods=["fulll"]), "Did you mean 'full'"),
        (Filters(backbones=["clip-t5"]), "Known: mini-bart"),
        (Filters(editions=["full"]), "Known: mini"),
        (Filters(tasks=["coca"]), "Unknown task or suite 'coca'"),
    ],
)
def test_unknown_names_are_told(results: Path, filters: Filters, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        choose(results, (), filters)


def test_nothing_left_is_told(results: Path, tmp_path: Path) -> None:
    with pytest.raises(NothingToReport, match="no run that is done is of method lora; seed 0"):
        choose(results, (), Filters(methods=["lora"], seeds=[0]))
    with pytest.raises(NothingToReport, match="no runs there"):
        done_runs(tmp_path / "none")
