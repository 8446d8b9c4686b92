"""A result's values: every metric, every family, beside the majority."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.runs.test_spec import SPEC
from vlbench.cards import find_tasks
from vlbench.data.example import Example
from vlbench.runs.folder import RunFolder
from vlbench.runs.result import Value, majority_scored, score, values, write_result
from vlbench.runs.sums import NAME, write_sums
from vlbench.techniques.adapt import Counts

(_, (GQA, COCO)) = find_tasks("gqa,coco")


def example(n: int, family: str, answer: str) -> Example:
    record = {"answer": answer, "imageId": "1", "types": {"detailed": family}, "question": "?"}
    return Example(str(n), "?", ("1",), {answer: 1.0}, record, family)


TRAIN = [example(n, "colour", "red") for n in range(3)] + [example(9, "exist", "yes")]
TEST = [
    example(0, "colour", "red"),
    example(1, "colour", "blue"),
    example(2, "exist", "no"),
    example(3, "count", "red"),
]


def test_there_is_a_value_over_all_and_one_per_family_beside_the_majority() -> None:
    majority = majority_scored(GQA, TRAIN, TEST)
    assert majority is not None
    assert majority.per_example == {"0": 1.0, "1": 0.0, "2": 0.0, "3": 1.0}  # count: the overall
    scored = score(GQA, TEST, {"0": "red", "1": "blue", "2": "yes", "3": "2"})
    assert values(GQA, TEST, scored, majority) == [
        Value("accuracy", "", 50.0, 50.0, 4),
        Value("accuracy", "colour", 100.0, 50.0, 2),
        Value("accuracy", "count", 0.0, 100.0, 1),
        Value("accuracy", "exist", 0.0, 0.0, 1),
    ]
    assert majority_scored(COCO, [], []) is None


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "predictions").mkdir()
    for name in ("spec.json", "metrics.jsonl", "predictions/vqav2.parquet", "result.parquet"):
        (tmp_path / name).write_text(name)
    for name in ("log.txt", "status.json", "lock", "predictions/.vqav2.parquet.1-2.tmp"):
        (tmp_path / name).write_text("not for good")
    return tmp_path


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum")
def test_sha256sum_checks_them(run: Path) -> None:
    write_sums(run)
    done = subprocess.run(["sha256sum", "-c", NAME], cwd=run, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.count(": OK") == 4
    (run / "metrics.jsonl").write_text("other")
    assert subprocess.run(["sha256sum", "-c", NAME], cwd=run, capture_output=True).returncode == 1


def test_a_run_that_dies_between_sums_and_result_is_not_done(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "result.parquet").unlink()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vlbench.runs.result.write_atomically", die)
    monkeypatch.setattr(
        "vlbench.runs.result.count", lambda _: Counts(1, 2, {}, "all of it", 2, True)
    )
    with pytest.raises(KeyboardInterrupt):
        write_result(run / "result.parquet", SPEC, None, [], {})  # type: ignore[arg-type]
    assert (run / NAME).is_file()
    assert not RunFolder(run).is_done
