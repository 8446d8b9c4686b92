"""A run that nothing touched holds; whatever is changed in it is found, and the cell is named."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, safe_open, save_file

from tests.runs.builders import Bench
from tests.verify.builders import (
    FIRST,
    FIRST_PAIR,
    NLVR2,
    VQA,
    Cell,
    Change,
    Rows,
    column_with,
    curve_with,
    cut,
    faulty,
    gone,
    in_result,
    other_answer,
    reseal,
    rows_of,
    spec_with,
    written,
)
from tests.verify.conftest import Verify
from vlbench.errors import MissingError, RunFailed
from vlbench.leaderboard.load import Filters
from vlbench.runs.sums import RESULT, WEIGHTS
from vlbench.verify.inputs import Findings, choose
from vlbench.verify.today import check_sums
from vlbench.verify.verify import Verifier

CURVE, SPEC = "metrics.jsonl", "spec.json"


def line_with(number: int, **values: Any) -> Change:
    return curve_with(lambda lines: lines[number].update(values))


def added_row(**cells: Any) -> Change:
    return rows_of(RESULT, lambda rows: rows.append({**rows[0], **cells}))


def wrong_answer(rows: Rows) -> None:
    """Another answer to a pair of pictures, with the score that it has."""
    rows[0].update(prediction=other_answer(rows[0]["prediction"]), score=1 - rows[0]["score"])


def of_result(column: str, value: Any, row: int | None = 0, where: str = FIRST) -> Any:
    """A change of a column of the result, and the cell that names it."""
    return in_result(column, value, row), (RESULT, where, column)


def of_pair(column: str, value: Any, named: str = "") -> Any:
    """A change of the first prediction of NLVR2, and the cell that names it."""
    return column_with(NLVR2, column, value), (NLVR2, FIRST_PAIR, named or column)


TAMPERINGS: dict[str, tuple[Change, Cell]] = {
    "a digit of a value": of_result("value", lambda v: v + 0.01),
    "a value that is no number": (in_result("value", math.nan), (RESULT, "", "")),
    "n_examples": of_result("n_examples", 25),
    "the main metric": of_result("main", False),
    "one row's time": of_result("train_seconds", 7.0, where="all rows"),
    "parameters": of_result("trainable_parameters", 1000, None),
    "bytes": of_result("adapter_bytes", lambda v: v + 8),
    "a fingerprint": of_result("data_fingerprint", "0" * 64),
    "a card's hash": of_result("card_hash", "0" * 64),
    "the seed in all rows": of_result("seed", 1, None),
    "settings": (spec_with("settings", value=[]), (RESULT, FIRST, "settings")),
    "data of the spec": (spec_with("data", "vqav2", value="0" * 64), (SPEC, "", "key")),
    "a prompt": (spec_with("tasks", 0, "prompt", value="now: "), (SPEC, "", "key")),
    "an unknown key": (spec_with("note", value="checked"), (SPEC, "", "")),
    "a row gone": (rows_of(RESULT, lambda rows: rows.pop(0)), (RESULT, FIRST, "")),
    "a row twice": (added_row(), (RESULT, FIRST, "")),
    "a row on validation": (added_row(split="val"), (RESULT, f"{FIRST} (val)", "")),
    "a row of another task": (
        added_row(task="gqa", metric="gqa.accuracy"),
        (RESULT, "gqa.accuracy", "task"),
    ),
    "no rows": (rows_of(RESULT, lambda rows: rows.clear()), (RESULT, "", "")),
    "a prediction": of_pair("prediction", other_answer, "score"),
    "a score": of_pair("score", lambda v: 1 - v),
    "references": of_pair("references", '"Maybe"'),
    "a prediction gone": (rows_of(NLVR2, lambda r: r.pop(0)), (NLVR2, FIRST_PAIR, "id")),
    "a prediction twice": (rows_of(NLVR2, lambda r: r.append(r[0])), (NLVR2, FIRST_PAIR, "id")),
    "a score that is no number": (column_with(NLVR2, "score", math.inf), (NLVR2, "", "")),
    "another run's predictions": (
        rows_of(NLVR2, wrong_answer),
        (RESULT, "nlvr2.accuracy", "value"),
    ),
    "no predictions": (gone(NLVR2), (NLVR2, "", "")),
    "a validation gone": (curve_with(lambda lines: lines.pop()), (CURVE, "", "validations")),
    "a loss that is none": (line_with(1, loss="low"), (CURVE, "", "")),
    "no curve": (gone(CURVE), (CURVE, "", "")),
    "other weights": (written(WEIGHTS, b"\0" * 99), (WEIGHTS, "", "")),
    "no spec": (gone(SPEC), (SPEC, "", "")),
}
SILENT: dict[str, tuple[Change, str]] = {
    "an answer that scores the same": (column_with(VQA, "prediction", lambda t: f"{t} or so"), VQA),
    "a loss": (line_with(1, loss=0.1), CURVE),
    "a time in all rows": (in_result("train_seconds", 0.5, None), RESULT),
    "a trained tensor": (
        lambda run: (run / WEIGHTS).write_bytes((run / WEIGHTS).read_bytes()[:-4] + b"abcd"),
        WEIGHTS,
    ),
}
"""What nothing can be recomputed from: docs/verifying.md says so."""


def test_a_run_that_nothing_touched_holds(run: Path, verify: Verify) -> None:
    findings = verify(run).findings
    assert findings.faults == []
    assert findings.checked > 500
    assert findings.unchecked.total() < findings.checked / 4


@pytest.mark.parametrize("what", TAMPERINGS)
def test_what_is_changed_is_found_by_the_sums_and_without_them_by_its_cell(
    run: Path, verify: Verify, what: str
) -> None:
    change, cell = TAMPERINGS[what]
    change(run)
    by_sums = Findings()
    check_sums(run, by_sums)
    assert [fault.column for fault in by_sums.faults] == ["sha256"]
    reseal(run)
    cells = faulty(verify(run))
    assert cell in cells
    assert not any(column == "sha256" for _, _, column in cells)


@pytest.mark.parametrize("what", SILENT)
def test_what_nothing_tells_is_found_by_the_sums_alone(
    run: Path, verify: Verify, what: str
) -> None:
    change, file = SILENT[what]
    change(run)
    assert faulty(verify(run)) == {(file, "", "sha256")}
    reseal(run)
    assert faulty(verify(run)) == set()


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("technique", ["adapter", "theirs:Adapter"])
def test_an_adapter_that_is_not_finite_is_a_fault_also_where_no_model_can_be_built(
    run: Path, bench: Bench, verify: Verify, value: float, technique: str
) -> None:
    tensors = load_file(run / WEIGHTS)
    with safe_open(run / WEIGHTS, "pt") as opened:
        metadata = opened.metadata()
    name = sorted(tensors)[-1]
    tensors[name].view(-1)[-1] = value
    save_file(tensors, run / WEIGHTS, metadata)
    spec_with("method", "technique", value=technique)(run)
    assert (WEIGHTS, name, "") in faulty(verify(run))


UNREADABLE: dict[str, tuple[Change, str]] = {
    "a result that is cut": (cut(RESULT), RESULT),
    "a spec that is no text": (written(SPEC, b"\xff\xfe"), SPEC),
    "a spec of endless depth": (written(SPEC, b"[" * 100_000), SPEC),
    "a curve that is no text": (written(CURVE, b"\xff"), CURVE),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_run_that_cannot_be_read_keeps_no_other_from_being_verified(
    run: Path, bench: Bench, _verifier: Verifier, what: str
) -> None:
    change, file = UNREADABLE[what]
    other = shutil.copytree(run, run.parent / "0000000000000000")
    change(other)
    reseal(other)
    runs = choose(run.parents[1], Filters(seeds=[0]))
    first, second = _verifier.verify_all(runs)
    assert (first.key, second.key) == (other.name, run.name)
    assert file in {fault.file for fault in first.findings.faults}
    assert second.findings.faults == []


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_what_breaks_off_a_check_is_a_fault_and_java_that_fails_or_lacks_is_none(
    run: Path, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("vlbench.verify.verify._check_curve", raising(TypeError("of two kinds")))
        assert faulty(verified := verify(run)) == {(SPEC, "", "")}
        assert verified.findings.faults[0].reason.startswith("TypeError: of two kinds: nothing")
    monkeypatch.setattr("vlbench.verify.verify.score", raising(RunFailed("Java died")))
    with pytest.raises(RunFailed, match="Java died"):
        verify(run)
    lacking = MissingError("Caption metrics need Java: none on PATH\nInstall it")
    monkeypatch.setattr("vlbench.verify.verify.score", raising(lacking))
    findings = verify(run).findings
    assert findings.faults == [] and findings.unchecked[str(lacking).partition("\n")[0]] > 48


def test_without_the_data_scores_are_recomputed_from_the_stored_references(
    run: Path, bench: Bench, tmp_path: Path
) -> None:
    verifier = Verifier(root=tmp_path / "nowhere")
    findings = verifier.verify(run).findings
    assert findings.faults == []
    assert any("data are not at hand" in reason for reason in findings.unchecked)
    column_with(NLVR2, "prediction", other_answer)(run)
    in_result("value", 3.0)(run)
    assert {(NLVR2, FIRST_PAIR, "score"), (RESULT, FIRST, "value")} <= faulty(verifier.verify(run))
    for text in ("nothing", "[1]", "null", '{"a": 1}'):
        for file in (VQA, NLVR2):
            column_with(file, "references", text)(run)
        cells = faulty(verifier.verify(run))
        assert {(VQA, "", "references"), (NLVR2, "", "references")} <= cells


def test_other_data_are_named_and_not_scored_with(run: Path, bench: Bench, tmp_path: Path) -> None:
    root = tmp_path / "mini"
    shutil.copytree(bench.root, root)
    for file in root.rglob("*test1*.json"):
        file.write_text(file.read_text().replace('"True"', '"False"'))
    findings = Verifier(root=root).verify(run).findings
    assert findings.faults == []
    assert findings.unchecked["the data here are not those of the run"] > 0


def test_code_that_is_not_ours_is_imported_only_when_allowed(
    run: Path, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for keys, value in {
        ("method", "technique"): "theirs:Adapter",
        ("settings",): ["technique=theirs:Adapter"],
        ("tasks", 0, "metric"): "theirs:score",
        ("tasks", 0, "reader"): "theirs:Reader",
        ("encoder",): "theirs:encoder",
        ("code",): {"theirs:Adapter": "0"},
    }.items():
        spec_with(*keys, value=value)(run)
    verified = Verifier().verify(run)
    assert (SPEC, "", "key") in faulty(verified)
    assert any("theirs:score" in reason for reason in verified.findings.unchecked)
