"""A folder that cannot be read is a finding of its own; the runs beside it are verified."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.verify.builders import Change, edit_spec, places, reseal
from tests.verify.conftest import Verify
from vlbench.errors import RunFailed
from vlbench.runs.sums import NAME, RESULT
from vlbench.verify.choosing import Filters, choose
from vlbench.verify.verify import Verifier


def cut(name: str) -> Change:
    return lambda run: (run / name).write_bytes((run / name).read_bytes()[:99])


def written(name: str, content: bytes) -> Change:
    return lambda run: (run / name).write_bytes(content)


UNREADABLE: dict[str, tuple[Change, str]] = {
    "a result that is cut": (cut(RESULT), RESULT),
    "predictions that are cut": (
        cut("predictions/vqav2.parquet"),
        "predictions/vqav2.parquet",
    ),
    "weights that are cut": (cut("adapter.safetensors"), "adapter.safetensors"),
    "a spec that is cut": (cut("spec.json"), "spec.json"),
    "a spec that is no JSON": (written("spec.json", b"not JSON"), "spec.json"),
    "a spec that is a list": (written("spec.json", b"[1]"), "spec.json"),
    "a spec that is no text": (written("spec.json", b"\xff\xfe"), "spec.json"),
    "a spec of endless depth": (written("spec.json", b"[" * 100_000), "spec.json"),
    "a name that is no text": (
        lambda run: (run / "spec.json").write_text(
            (run / "spec.json").read_text().replace("vqav2+nlvr2", "\\ud800")
        ),
        "spec.json",
    ),
    "a seed that is a list": (
        lambda run: edit_spec(run, lambda spec: spec.update(seed=[0])),
        "spec.json",
    ),
    "a method that has no name": (
        lambda run: edit_spec(run, lambda spec: spec["method"].update(name=["full"])),
        "spec.json",
    ),
    "epochs without end": (
        lambda run: edit_spec(run, lambda spec: spec["method"]["train"].update(epochs=10**15)),
        "spec.json",
    ),
    "a curve that is no text": (written("metrics.jsonl", b"\xff"), "metrics.jsonl"),
    "a folder in the place of attempts": (
        lambda run: ((run / "attempts.jsonl").unlink(), (run / "attempts.jsonl").mkdir()),
        "attempts.jsonl",
    ),
    "sums that are no text": (written(NAME, b"\xff"), NAME),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_run_that_cannot_be_read_keeps_no_other_from_being_verified(
    run: Path, bench: object, _verifier: Verifier, what: str
) -> None:
    change, file = UNREADABLE[what]
    other = shutil.copytree(run, run.parent / "0000000000000000")
    change(other)
    if file != NAME:
        reseal(other)
    for filters in (Filters(), Filters(seeds=[0])):
        runs = choose(run.parents[1], (), filters)
        first, second = _verifier.verify_all(runs)
        assert (first.key, second.key) == (other.name, run.name)
        assert file in {fault.file for fault in first.findings.faults}
        assert second.findings.faults == []


@pytest.mark.parametrize("error", [TypeError("of two kinds"), PermissionError(13, "denied")])
def test_whatever_breaks_off_a_check_is_a_fault_that_says_where(
    run: Path, verify: Verify, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("vlbench.verify.verify.check_curve", raising(error))
    assert places(verified := verify(run)) == {("spec.json", "", "")}
    assert "test_unreadable.py, line" in verified.findings.faults[0].reason


def test_java_that_fails_is_no_fault_of_a_run(
    run: Path, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlbench.verify.verify.check_curve", raising(RunFailed("Java died")))
    with pytest.raises(RunFailed, match="Java died"):
        verify(run)


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail
