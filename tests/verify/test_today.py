"""Checksums and cards: no value of a spec can be changed in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.verify.builders import (
    NLVR2,
    Change,
    column_with,
    fault_at,
    faulty,
    gone,
    other_answer,
    reseal,
    spec_with,
)
from tests.verify.conftest import Verify
from vlbench.cards import load_method
from vlbench.cards.load import PROSE
from vlbench.runs.spec import NOT_IN_KEY, RunSpec
from vlbench.runs.sums import NAME, RESULT, WEIGHTS, seal
from vlbench.techniques import resolve_method
from vlbench.verify.inputs import Findings
from vlbench.verify.today import check_sums, check_tuning


def without_line(name: str) -> Change:
    """Take a file's line out of the sums."""

    def change(run: Path) -> None:
        lines = (run / NAME).read_text().splitlines(keepends=True)
        (run / NAME).write_text("".join(line for line in lines if not line.endswith(f" {name}\n")))

    return change


@pytest.mark.parametrize("name", [None, "spec.json", "metrics.jsonl", NLVR2, RESULT, WEIGHTS])
def test_sums_that_lack_are_a_fault_that_names_what_writes_them(
    run: Path, verify: Verify, name: str | None
) -> None:
    change = without_line(name) if name else gone(NAME)
    change(run)
    fault = fault_at(verify(run), name or NAME, "", "sha256" if name else "")
    assert fault.stored == ("not listed" if name else "no such file")
    assert "vlbench results seal" in fault.text and not fault.is_since
    assert seal(run) == ("completed" if name else "sealed")
    assert verify(run).findings.faults == []


def test_sums_that_are_taken_away_hide_no_change(run: Path, verify: Verify) -> None:
    column_with(NLVR2, "prediction", other_answer)(run)
    gone(NAME)(run)
    assert {(NAME, "", ""), (NLVR2, "test1-0-0-0", "score")} <= faulty(verify(run))


def test_a_seal_keeps_the_sums_that_are_there(run: Path, verify: Verify) -> None:
    column_with(NLVR2, "prediction", lambda text: f"{text} ")(run)
    without_line(RESULT)(run)
    assert seal(run) == "completed"
    assert faulty(verify(run)) == {(NLVR2, "", "sha256")}
    assert seal(run) == "sealed before"


@pytest.mark.parametrize("text", ["", "abc  spec.json\n", f"{'0' * 64}  {RESULT}\n"])
def test_faulty_sums_are_named(run: Path, verify: Verify, text: str) -> None:
    (run / NAME).write_text(text)
    assert {file for file, _, _ in faulty(verify(run))} & {NAME, RESULT}


def test_weights_may_be_absent_and_are_missed_by_name(run: Path, verify: Verify) -> None:
    gone(WEIGHTS)(run)
    for _ in range(2):  # listed in the sums, and not
        findings = Findings()
        check_sums(run, findings)
        assert findings.faults == []
        assert findings.unchecked == {"adapter.safetensors is not kept here": 1}
        reseal(run)
    assert verify(run).findings.faults == []


def test_the_docs_list_what_nothing_tells_of(project: Path) -> None:
    text = (project / "docs/verifying.md").read_text()
    for name in (NOT_IN_KEY.keys() | PROSE) - {"settings", "tuning"}:  # a column, the card
        assert f"`{name}`" in text


def test_a_card_that_was_corrected_keeps_what_its_runs_say(run: Path, verify: Verify) -> None:
    card = load_method("shared-adapter")
    assert resolve_method(card, "mini-bart", "image-text").tuning.before == ()
    for name, value in card.tuning.before[0].model_dump(mode="json").items():
        spec_with("method", "tuning", name, value=value)(run)
    cell = ("spec.json", "", "method.tuning")
    assert cell not in faulty(verify(run))
    spec_with("method", "tuning", "trials", value=2)(run)
    assert "methods/shared-adapter.toml says otherwise" in fault_at(verify(run), *cell).text


def test_the_committed_runs_are_what_their_cards_say(project: Path) -> None:
    findings = Findings()
    for file in sorted(project.glob("results/mini/runs/*/spec.json")):
        check_tuning(RunSpec.read(file), findings)
    assert findings.checked and findings.faults == []


def test_places_that_lead_nowhere_leave_cells_unchecked(run: Path, verify: Verify) -> None:
    spec_with("root", value="/nowhere")(run)
    reseal(run)
    findings = verify(run).findings
    assert findings.faults == []
    assert any(why.startswith("the data are not at hand: ") for why in findings.unchecked)
