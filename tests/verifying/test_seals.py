"""Sums that are lacking, in whole or in part, are faults; so are files that no run writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.verifying.builders import (
    NLVR2,
    Change,
    Place,
    fault_at,
    in_answers,
    other_answer,
    places,
    reseal,
)
from tests.verifying.conftest import Verify
from vlbench.running.sums import NAME, RESULT, WEIGHTS, seal, strange_files
from vlbench.verifying.findings import Findings
from vlbench.verifying.seals import check_sums


def without_line(name: str) -> Change:
    """Take a file's line out of the sums."""

    def change(run: Path) -> None:
        lines = (run / NAME).read_text().splitlines(keepends=True)
        (run / NAME).write_text("".join(line for line in lines if not line.endswith(f" {name}\n")))

    return change


def test_a_run_without_sums_is_at_fault_and_told_what_writes_them(
    run: Path, verify: Verify
) -> None:
    (run / NAME).unlink()
    fault = fault_at(verify(run), NAME, "", "")
    assert fault.stored == "no such file" and "vlbench results seal" in fault.text
    assert not fault.is_since
    assert seal(run) == "sealed"
    assert verify(run).findings.faults == []


@pytest.mark.parametrize("name", ["spec.json", "metrics.jsonl", NLVR2, RESULT, WEIGHTS])
def test_a_file_that_the_sums_do_not_list_is_at_fault(run: Path, verify: Verify, name: str) -> None:
    without_line(name)(run)
    fault = fault_at(verify(run), name, "", "sha256")
    assert fault.stored == f"not in {NAME}" and "vlbench results seal" in fault.text
    assert seal(run) == "completed"
    assert verify(run).findings.faults == []


def test_sums_that_are_taken_away_hide_no_change(run: Path, verify: Verify) -> None:
    in_answers(NLVR2, "prediction", other_answer)(run)
    (run / NAME).unlink()
    assert {(NAME, "", ""), (NLVR2, "test1-0-0-0", "score")} <= places(verify(run))


def test_a_seal_keeps_the_sums_that_are_there(run: Path, verify: Verify) -> None:
    in_answers(NLVR2, "prediction", lambda text: f"{text} ")(run)
    without_line(RESULT)(run)
    assert seal(run) == "completed"
    assert places(verify(run)) == {(NLVR2, "", "sha256")}
    assert seal(run) == "sealed before"


def test_another_runs_sums_do_not_fit(run: Path, verify: Verify) -> None:
    lines = (run / NAME).read_text().splitlines()
    turned = [f"{sha}  {line[66:]}" for sha, line in zip([lines[-1][:64]] * 9, lines, strict=False)]
    (run / NAME).write_text("\n".join(turned) + "\n")
    assert (NLVR2, "", "sha256") in places(verify(run))


@pytest.mark.parametrize("text", ["", "abc  spec.json\n", "\xff"], ids=["empty", "short", "bytes"])
def test_faulty_sums_are_told(run: Path, verify: Verify, text: str) -> None:
    (run / NAME).write_bytes(text.encode("latin-1"))
    assert {file for file, _, _ in places(verify(run))} & {NAME, RESULT}


def as_folder(name: str) -> Change:
    def change(run: Path) -> None:
        (run / name).unlink()
        (run / name).mkdir()

    return change


STRANGE: dict[str, tuple[Change, Place]] = {
    "a program": (lambda run: (run / "evaluate.py").touch(), ("evaluate.py", "", "")),
    "another result": (lambda run: (run / "result2.parquet").touch(), ("result2.parquet", "", "")),
    "a folder": (lambda run: (run / "better").mkdir(), ("better", "", "")),
    "a table beside the predictions": (
        lambda run: (run / "predictions/vqav2.csv").touch(),
        ("predictions/vqav2.csv", "", ""),
    ),
    "predictions of no task": (
        lambda run: (run / "predictions/gqa.parquet").touch(),
        ("predictions/gqa.parquet", "", ""),
    ),
    "a folder in the place of weights": (as_folder(WEIGHTS), (WEIGHTS, "", "")),
    "a folder in the place of predictions": (as_folder(NLVR2), (NLVR2, "", "")),
}


@pytest.mark.parametrize("what", STRANGE)
def test_what_no_run_writes_is_named(run: Path, verify: Verify, what: str) -> None:
    change, place = STRANGE[what]
    change(run)
    reseal(run)
    assert place in places(verify(run))


def test_what_a_run_writes_while_it_goes_is_not_strange(run: Path) -> None:
    for name in ("cancel", "holder.json", "job.json", ".spec.json.1-2.tmp", ".DS_Store"):
        (run / name).touch()
    (run / "checkpoint").mkdir()
    (run / "submissions").mkdir()
    assert strange_files(run) == []


def test_weights_that_are_not_kept_are_said_to_be_absent_sealed_or_not(run: Path) -> None:
    (run / WEIGHTS).unlink()
    for _ in range(2):
        findings = Findings()
        check_sums(run, findings)
        assert findings.faults == []
        assert findings.unchecked == {"adapter.safetensors is not kept here": 1}
        reseal(run)
