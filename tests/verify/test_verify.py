"""A run that nothing touched holds; whatever is changed in it is found, and the cell is named."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.runs.builders import Bench, do
from tests.verify.builders import (
    FIRST,
    FIRST_PAIR,
    NLVR2,
    VQA,
    Change,
    Place,
    answer_otherwise,
    curve_with,
    edit_spec,
    fault_at,
    in_answers,
    in_result,
    other_answer,
    places,
    put,
    reseal,
    rows_of,
    spec_with,
)
from tests.verify.conftest import Verify
from vlbench.errors import MissingError
from vlbench.metrics import METRICS
from vlbench.runs.result import code_version
from vlbench.runs.sums import RESULT, WEIGHTS, read_sums
from vlbench.verify.findings import Findings
from vlbench.verify.results import MEASURED, RECORDS
from vlbench.verify.today import check_sums
from vlbench.verify.verify import Verifier

TAMPERINGS: dict[str, tuple[Change, Place]] = {
    "a digit of a value": (in_result("value", lambda v: v + 0.01), (RESULT, FIRST, "value")),
    "a value that is no number": (in_result("value", math.nan), (RESULT, FIRST, "value")),
    "a majority": (in_result("majority", lambda v: v + 1), (RESULT, FIRST, "majority")),
    "n_examples": (in_result("n_examples", 25), (RESULT, FIRST, "n_examples")),
    "which value is the main one": (in_result("main", False), (RESULT, FIRST, "main")),
    "a digit of one row's train_seconds": (
        in_result("train_seconds", lambda v: v + 0.001),
        (RESULT, FIRST, "train_seconds"),
    ),
    "train_seconds in all rows": (
        in_result("train_seconds", lambda v: v / 2, row=None),
        (RESULT, "all rows", "train_seconds x examples_per_second"),
    ),
    "one row's evaluate_seconds": (
        in_result("evaluate_seconds", 1e-3),
        (RESULT, FIRST, "evaluate_seconds"),
    ),
    "one row's code_version": (
        in_result("code_version", "9.9.9"),
        (RESULT, FIRST, "code_version"),
    ),
    "one row's device": (in_result("device", "cuda: A100"), (RESULT, FIRST, "device")),
    "a time without a zone in all rows": (
        in_result("created_at", "2026-11-23T00:17:48", row=None),
        (RESULT, FIRST, "created_at"),
    ),
    "the attempt in all rows": (in_result("attempt", 3, row=None), (RESULT, FIRST, "attempt")),
    "an earlier created_at in all rows": (
        in_result("created_at", "2020-01-01T00:00:00+00:00", row=None),
        (RESULT, FIRST, "created_at"),
    ),
    "a later created_at in all rows": (
        in_result("created_at", "2120-01-01T00:00:00+00:00", row=None),
        (RESULT, FIRST, "created_at"),
    ),
    "a device of another kind in all rows": (
        in_result("device", "cuda: A100", row=None),
        (RESULT, FIRST, "device"),
    ),
    "a code_version that is none in all rows": (
        in_result("code_version", "mine", row=None),
        (RESULT, FIRST, "code_version"),
    ),
    "versions that are none": (
        in_result("versions", "new", row=None),
        (RESULT, FIRST, "versions"),
    ),
    "trainable_parameters in all rows": (
        in_result("trainable_parameters", 1000, row=None),
        (RESULT, FIRST, "trainable_parameters"),
    ),
    "trainable_percent": (
        in_result("trainable_percent", lambda v: v - 0.01, row=None),
        (RESULT, FIRST, "trainable_percent"),
    ),
    "adapter_bytes": (
        in_result("adapter_bytes", lambda v: v + 8, row=None),
        (RESULT, FIRST, "adapter_bytes"),
    ),
    "the data's fingerprint in a row": (
        in_result("data_fingerprint", "0" * 64),
        (RESULT, FIRST, "data_fingerprint"),
    ),
    "the data's fingerprint in the spec": (
        spec_with("data", "vqav2", value="0" * 64),
        ("spec.json", "", "data.vqav2"),
    ),
    "a card's hash": (in_result("card_hash", "0" * 64), (RESULT, FIRST, "card_hash")),
    "the key in a row": (in_result("key", "0" * 16), (RESULT, FIRST, "key")),
    "the method in a row": (in_result("method", "full"), (RESULT, FIRST, "method")),
    "the seed in all rows": (in_result("seed", 1, row=None), (RESULT, FIRST, "seed")),
    "the seed in the spec": (spec_with("seed", value=1), ("spec.json", "", "key")),
    "the method's card in the spec": (
        spec_with("method", "train", "epochs", value=3),
        ("spec.json", "", "key"),
    ),
    "a task's card in the spec": (
        lambda run: edit_spec(run, lambda spec: spec["tasks"][0].update(prompt="now: ")),
        ("tasks/vqav2.toml", "", "prompt"),
    ),
    "how values were searched": (
        spec_with("method", "tuning", "trials", value=9),
        ("spec.json", "", "method.tuning.trials"),
    ),
    "a tuning that says to have been corrected": (
        spec_with("method", "tuning", "before", value=[{"trials": 9}]),
        ("spec.json", "", "method.tuning.before"),
    ),
    "a note of the method in the spec": (
        spec_with("method", "deviations", value=[]),
        ("adapter.safetensors", "", "method.deviations"),
    ),
    "the method's title in the spec": (
        spec_with("method", "title", value="Mine"),
        (RESULT, FIRST, "title"),
    ),
    "the user's settings in the spec": (
        spec_with("settings", value=[]),
        (RESULT, FIRST, "settings"),
    ),
    "the device in the spec": (spec_with("device", value="cuda"), (RESULT, FIRST, "device")),
    "weights to start from in the spec": (
        spec_with("init", value="/data/better.safetensors"),
        ("spec.json", "", "init"),
    ),
    "another card's file in the spec": (
        spec_with("method_file", value="/data/full.toml"),
        ("spec.json", "", "method_file"),
    ),
    "a number that is spelt as text": (
        spec_with("seed", value="0"),
        ("spec.json", "", "seed"),
    ),
    "a value that no spec has": (spec_with("note", value="checked"), ("spec.json", "", "")),
    "the kind of file in the spec": (
        spec_with("schema", value="vlbench.spec/2"),
        ("spec.json", "", "schema"),
    ),
    "no tasks": (spec_with("tasks", value=[]), ("spec.json", "", "")),
    "a row of the result gone": (
        rows_of(RESULT, lambda rows: rows.pop()),
        (RESULT, "nlvr2.consistency", ""),
    ),
    "a row of the result twice": (
        rows_of(RESULT, lambda rows: rows.append(rows[0])),
        (RESULT, FIRST, ""),
    ),
    "a row of the result that no metric gives": (
        rows_of(RESULT, lambda rows: rows.append({**rows[0], "metric": "vqav2.best"})),
        (RESULT, "vqav2.best", ""),
    ),
    "a row on validation": (
        rows_of(RESULT, lambda rows: rows.append({**rows[0], "split": "val"})),
        (RESULT, f"{FIRST} (val)", ""),
    ),
    "a row of another task": (
        rows_of(RESULT, lambda r: r.append({**r[0], "task": "gqa", "metric": "gqa.accuracy"})),
        (RESULT, "gqa.accuracy", "task"),
    ),
    "no rows": (rows_of(RESULT, lambda rows: rows.clear()), (RESULT, "", "")),
    "a prediction": (
        in_answers(NLVR2, "prediction", other_answer),
        (NLVR2, FIRST_PAIR, "score"),
    ),
    "a prediction gone": (rows_of(NLVR2, lambda r: r.pop(0)), (NLVR2, FIRST_PAIR, "id")),
    "a prediction twice": (
        rows_of(NLVR2, lambda rows: rows.append(rows[0])),
        (NLVR2, FIRST_PAIR, "id"),
    ),
    "a prediction for nothing": (in_answers(NLVR2, "id", "none"), (NLVR2, "none", "id")),
    "a score": (in_answers(NLVR2, "score", lambda v: 1 - v), (NLVR2, FIRST_PAIR, "score")),
    "references": (
        in_answers(NLVR2, "references", '"Maybe"'),
        (NLVR2, FIRST_PAIR, "references"),
    ),
    "a question": (in_answers(NLVR2, "text", "What?"), (NLVR2, FIRST_PAIR, "text")),
    "a picture": (in_answers(NLVR2, "images", ["a"]), (NLVR2, FIRST_PAIR, "images")),
    "an empty prediction": (in_answers(NLVR2, "prediction", None), (NLVR2, "", "")),
    "a file of predictions gone": (lambda run: (run / NLVR2).unlink(), (NLVR2, "", "")),
    "a file of predictions that is none": (
        lambda run: (run / NLVR2).write_bytes(b"PAR1"),
        (NLVR2, "", ""),
    ),
    "another run's predictions": (
        rows_of(NLVR2, lambda rows: answer_otherwise(rows[0])),
        (RESULT, "nlvr2.accuracy", "value"),
    ),
    "a file of predictions of no task": (
        lambda run: shutil.copy(run / NLVR2, run / "predictions/gqa.parquet"),
        ("predictions/gqa.parquet", "", ""),
    ),
    "a rate that is no number": (
        curve_with(lambda lines: put(lines, 1, "learning_rate", "high")),
        ("metrics.jsonl", "step 10", "learning_rate"),
    ),
    "a task in the training curve": (
        curve_with(lambda lines: put(lines, 1, "task", "coco")),
        ("metrics.jsonl", "step 10", "task"),
    ),
    "a loss that is no number": (
        curve_with(lambda lines: put(lines, 1, "loss", "low")),
        ("metrics.jsonl", "step 10", "loss"),
    ),
    "a point of the training curve gone": (
        curve_with(lambda lines: lines.pop(1)),
        ("metrics.jsonl", "step 10", ""),
    ),
    "a validation gone": (
        curve_with(lambda lines: lines.pop()),
        ("metrics.jsonl", "validation 2", ""),
    ),
    "a torn training curve": (
        lambda run: (run / "metrics.jsonl").write_text('{"step": 1'),
        ("metrics.jsonl", "", ""),
    ),
    "no training curve": (
        lambda run: (run / "metrics.jsonl").unlink(),
        ("metrics.jsonl", "", ""),
    ),
    "weights of another length": (
        lambda run: (run / "adapter.safetensors").write_bytes(b"\0" * 99),
        ("adapter.safetensors", "", ""),
    ),
    "weights that are cut": (
        lambda run: (run / WEIGHTS).write_bytes((run / WEIGHTS).read_bytes()[:-4]),
        (WEIGHTS, "", ""),
    ),
    "a loss that is a yes": (
        curve_with(lambda lines: put(lines, 1, "loss", True)),
        ("metrics.jsonl", "step 10", "loss"),
    ),
    "a point of the training curve twice": (
        curve_with(lambda lines: lines.append(lines[1])),
        ("metrics.jsonl", "step 10", ""),
    ),
    "a point that is no text": (
        curve_with(lambda lines: put(lines, 1, "task", "\ud800")),
        ("metrics.jsonl", "", ""),
    ),
    "a result that is none": (lambda run: (run / RESULT).write_bytes(b""), (RESULT, "", "")),
    "a spec that is none": (
        lambda run: (run / "spec.json").write_text("{}"),
        ("spec.json", "", ""),
    ),
    "no spec": (lambda run: (run / "spec.json").unlink(), ("spec.json", "", "")),
}
SILENT: dict[str, tuple[Change, str]] = {
    "a wrong answer for another": (
        in_answers(VQA, "prediction", lambda text: f"{text} or so"),
        VQA,
    ),
    "a loss": (curve_with(lambda lines: put(lines, 1, "loss", 0.1)), "metrics.jsonl"),
    "a rate": (curve_with(lambda lines: put(lines, 1, "learning_rate", 0.5)), "metrics.jsonl"),
    "a validation": (
        curve_with(lambda lines: lines[-1]["validation"].update({FIRST: 99.0})),
        "metrics.jsonl",
    ),
    "a device of the same kind in all rows": (
        in_result("device", "cpu: the fastest", row=None),
        RESULT,
    ),
    "memory in all rows": (in_result("peak_memory_bytes", 17, row=None), RESULT),
    "the commit in all rows": (in_result("code_version", "0.1.0 0123456789ab", row=None), RESULT),
    "in what parts batches were computed": (spec_with("max_batch", value=1), "spec.json"),
    "a trained tensor": (
        lambda run: (run / "adapter.safetensors").write_bytes(
            (run / "adapter.safetensors").read_bytes()[:-4] + b"abcd"
        ),
        "adapter.safetensors",
    ),
}
"""What nothing can be recomputed from: docs/verifying.md says so."""


def test_a_run_that_nothing_touched_holds(run: Path, verify: Verify) -> None:
    verified = verify(run)
    assert verified.findings.faults == []
    assert verified.findings.checked > 500
    assert sum(verified.findings.unchecked.values()) < verified.findings.checked / 4


@pytest.mark.parametrize("what", TAMPERINGS)
def test_what_is_changed_is_found_by_the_sums_and_without_them_by_its_cell(
    run: Path, verify: Verify, what: str
) -> None:
    change, place = TAMPERINGS[what]
    change(run)
    by_sums = Findings()
    check_sums(run, by_sums)
    assert [fault.column for fault in by_sums.faults] == ["sha256"]
    reseal(run)
    found = places(verify(run))
    assert place in found
    assert not any(column == "sha256" for _, _, column in found)


@pytest.mark.parametrize("what", SILENT)
def test_what_nothing_tells_is_found_by_the_sums_alone(
    run: Path, verify: Verify, what: str
) -> None:
    change, file = SILENT[what]
    change(run)
    assert places(verify(run)) == {(file, "", "sha256")}
    reseal(run)
    assert places(verify(run)) == set()


def test_a_fault_says_what_is_stored_and_what_it_should_be(run: Path, verify: Verify) -> None:
    in_result("n_examples", 25)(run)
    fault = fault_at(verify(run), RESULT, FIRST, "n_examples")
    assert (fault.stored, fault.recomputed) == (25, 24)
    assert fault.text == "result.parquet vqav2.accuracy n_examples: 25, recomputed 24"


def test_the_row_that_differs_is_named_and_not_the_others(run: Path, verify: Verify) -> None:
    for row in (0, 2):
        in_result("peak_memory_bytes", 17, row=row)(run)
        reseal(run)
    found = {place for place in places(verify(run)) if place[2] == "peak_memory_bytes"}
    assert found == {
        (RESULT, FIRST, "peak_memory_bytes"),
        (RESULT, "vqav2.accuracy [is there]", "peak_memory_bytes"),
    }


def test_two_runs_that_changed_their_names_are_found(run: Path, verify: Verify) -> None:
    other = run.rename(run.with_name("0" * 16))
    assert places(verify(other)) == {("spec.json", "", "folder")}


def test_weights_may_be_absent_and_are_missed_by_name(run: Path, verify: Verify) -> None:
    (run / WEIGHTS).unlink()
    verified = verify(run)
    assert verified.findings.faults == []
    assert verified.findings.unchecked["adapter.safetensors is not kept here"] == 1


@pytest.mark.parametrize("factor", [0, 0.5, 2000])
def test_without_weights_their_bytes_are_about_those_of_the_shapes(
    run: Path, verify: Verify, factor: float
) -> None:
    (run / WEIGHTS).unlink()
    in_result("adapter_bytes", lambda v: int(v * factor), row=None)(run)
    assert (RESULT, FIRST, "adapter_bytes") in places(verify(run))


def test_a_card_that_changed_since_is_told_key_by_key(
    run: Path, bench: Bench, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("methods", "tasks"):
        shutil.copytree(project / kind, tmp_path / kind)
    card = tmp_path / "methods/shared-adapter.toml"
    card.write_text(re.sub(r"reduction = \d+", "reduction = 2", card.read_text()))
    task = tmp_path / "tasks/nlvr2.toml"
    task.write_text(task.read_text().replace('prompt = "nlvr: "', 'prompt = "see: "'))
    monkeypatch.setattr("vlbench.cards.load.card_folder", lambda kind: tmp_path / kind)
    verified = Verifier().verify(run)
    assert places(verified) == {
        ("methods/shared-adapter.toml", "", "params.reduction"),
        ("tasks/nlvr2.toml", "", "prompt"),
    }
    assert all(fault.is_since for fault in verified.findings.faults)
    assert "changed since" in verified.findings.faults[0].text


def test_a_card_that_is_gone_is_said_to_be(
    run: Path, bench: Bench, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("methods", "tasks"):
        shutil.copytree(project / kind, tmp_path / kind)
    (tmp_path / "methods/shared-adapter.toml").unlink()
    monkeypatch.setattr("vlbench.cards.load.card_folder", lambda kind: tmp_path / kind)
    found = Verifier().verify(run).findings
    assert found.faults == []
    assert any("methods/shared-adapter.toml" in reason for reason in found.unchecked)


def test_without_the_data_scores_are_recomputed_from_the_stored_references(
    run: Path, bench: Bench, tmp_path: Path
) -> None:
    verifier = Verifier(root=tmp_path / "nowhere")
    found = verifier.verify(run).findings
    assert found.faults == []
    assert any("data are not at hand" in reason for reason in found.unchecked)
    in_answers(NLVR2, "prediction", other_answer)(run)
    in_result("value", 3.0)(run)
    assert {
        (NLVR2, FIRST_PAIR, "score"),
        (RESULT, FIRST, "value"),
    } <= places(verifier.verify(run))


@pytest.mark.parametrize("text", ["nothing", "[1]", "null", '{"a": 1}'])
def test_without_the_data_references_of_any_kind_are_faults(
    run: Path, bench: Bench, tmp_path: Path, text: str
) -> None:
    for file in (VQA, NLVR2):
        in_answers(file, "references", text)(run)
    found = places(Verifier(root=tmp_path / "nowhere").verify(run))
    assert {(VQA, "", "references"), (NLVR2, "", "references")} <= found


def test_without_java_what_needs_it_is_counted_as_not_checked(
    run: Path, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MissingError("Caption metrics need Java: none on PATH\nInstall it")

    monkeypatch.setattr("vlbench.verify.results.score", fail)
    found = verify(run).findings
    assert found.faults == []
    rows = sum(len(pq.read_table(run / file)) for file in (VQA, NLVR2))
    cells = 4 * len(pq.read_table(run / RESULT))
    assert found.unchecked["Caption metrics need Java: none on PATH"] == rows + cells


def test_other_data_are_told_and_not_scored_with(run: Path, bench: Bench, tmp_path: Path) -> None:
    root = tmp_path / "mini"
    shutil.copytree(bench.root, root)
    for file in root.rglob("*test1*.json"):
        file.write_text(file.read_text().replace('"True"', '"False"'))
    verified = Verifier(root=root).verify(run)
    assert places(verified) == {("spec.json", "", "data.nlvr2")}
    assert verified.findings.faults[0].is_since


def test_code_that_is_not_ours_is_imported_only_when_allowed(
    run: Path, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)

    def name_code(spec: dict[str, Any]) -> None:
        spec["method"]["technique"] = "theirs:Adapter"
        spec["settings"] = ["technique=theirs:Adapter"]
        spec["tasks"][0]["metric"] = "theirs:score"
        spec["tasks"][0]["reader"] = "theirs:Reader"
        spec["encoder"] = "theirs:encoder"
        spec["code"] = {"theirs:Adapter": "0"}

    edit_spec(run, name_code)
    verified = Verifier().verify(run)
    assert ("spec.json", "", "key") in places(verified)
    assert any("theirs:score" in reason for reason in verified.findings.unchecked)


def test_a_run_that_was_interrupted_and_went_on_holds(
    bench: Bench, tmp_path: Path, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vlbench.runs.callbacks import Callbacks

    original = Callbacks.on_step

    def interrupted(self: Callbacks, step: Any) -> None:
        original(self, step)
        if step.number == 11:
            raise KeyboardInterrupt

    monkeypatch.setenv("VLBENCH_CHECKPOINT_SECONDS", "0")
    with monkeypatch.context() as patch:
        patch.setattr(Callbacks, "on_step", interrupted)
        do(bench.spec(), tmp_path, code=130)
    assert not list(tmp_path.glob("runs/*/SHA256SUMS"))
    folder = do(bench.spec(), tmp_path)
    assert verify(folder.path).findings.faults == []
    assert set(read_sums(folder.path) or {}) == {
        *("spec.json", "metrics.jsonl", "adapter.safetensors", RESULT, VQA, NLVR2)
    }


def test_every_official_metric_can_be_had_from_stored_references() -> None:
    assert set(RECORDS) == set(METRICS)


def test_this_code_has_a_version_that_counts_as_one() -> None:
    assert MEASURED["code_version"](code_version())
