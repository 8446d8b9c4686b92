"""Checksums and cards: no value of a spec can be changed in silence."""

from __future__ import annotations

from pathlib import Path

from tests.verify.builders import (
    NLVR2,
    column_with,
    fault_at,
    faulty,
    gone,
    other_answer,
    reseal,
)
from tests.verify.conftest import Verify
from vlbench.runs.sums import NAME, RESULT, WEIGHTS
from vlbench.verify.inputs import Findings
from vlbench.verify.today import check_sums


def test_sums_that_lack_are_faulty_or_taken_away_are_found_and_hide_no_change(
    run: Path, verify: Verify
) -> None:
    lines = (run / NAME).read_text().splitlines(keepends=True)
    (run / NAME).write_text("".join(line for line in lines if NLVR2 not in line))
    assert fault_at(verify(run), NLVR2, "", "sha256").stored == "not listed"
    for text in ("", "abc  spec.json\n", f"{'0' * 64}  {RESULT}\n"):
        (run / NAME).write_text(text)
        assert {file for file, _, _ in faulty(verify(run))} & {NAME, RESULT}
    column_with(NLVR2, "prediction", other_answer)(run)
    gone(NAME)(run)
    assert {(NAME, "", ""), (NLVR2, "test1-0-0-0", "score")} <= faulty(verify(run))


def test_weights_may_be_absent_and_are_missed_by_name(run: Path, verify: Verify) -> None:
    gone(WEIGHTS)(run)
    for _ in range(2):  # listed in the sums, and not
        findings = Findings()
        check_sums(run, findings)
        assert findings.faults == []
        assert findings.unchecked == {"adapter.safetensors is not kept here": 1}
        reseal(run)
    assert verify(run).findings.faults == []
