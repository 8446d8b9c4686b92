"""Checksums, files and specs: no value of a spec can be changed in silence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runs.builders import Bench
from tests.verify.builders import (
    NLVR2,
    Change,
    Place,
    edit_spec,
    fault_at,
    in_answers,
    other_answer,
    places,
    reseal,
    spec_with,
)
from tests.verify.conftest import Verify
from vlbench.cards import load_method
from vlbench.cards.load import PROSE
from vlbench.runs.spec import NOT_IN_KEY, RunSpec
from vlbench.runs.sums import NAME, RESULT, WEIGHTS, seal, strange_files
from vlbench.techniques import resolve_method
from vlbench.verify.findings import Findings
from vlbench.verify.today import check_prose, check_spec, check_sums, check_tuning
from vlbench.verify.verify import Verified, Verifier


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


UNKNOWN = {"root", "features", "backbone_path", "max_batch", "checkpoint_activations"}
"""Keys that nothing else tells of."""
Keys = tuple[str | int, ...]


def leaves(value: Any, keys: Keys = ()) -> Iterator[Keys]:
    """Where in a JSON value there is no table and no list with something in it."""
    if isinstance(value, dict | list) and value:
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from leaves(value[key], (*keys, key))
    else:
        yield keys


def other(value: Any) -> Any:
    """Another value of the kind; texts keep their length, which the weights' bytes tell of."""
    if isinstance(value, str):
        return ("y" if value.startswith("x") else "x") + value[1:]
    if value is None or isinstance(value, bool):
        return 1 if value is None else not value
    if isinstance(value, list):
        return ["x"]
    return {"x": "x"} if isinstance(value, dict) else value + 1


def change(table: Any, keys: Keys) -> None:
    for key in keys[:-1]:
        table = table[key]
    table[keys[-1]] = other(table[keys[-1]])


def told(verified: Verified) -> set[str]:
    return set(verified.findings.unchecked)


@pytest.fixture
def usual_places(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny edition and the random backbone lie where all look that are told of no place."""
    monkeypatch.setattr("vlbench.runs.plan.mini_root", lambda *_: bench.root)
    monkeypatch.setattr("vlbench.backbones.BackboneRow.source_of", lambda *_: str(bench.backbone))


def test_every_value_of_a_spec_is_checked_or_told_or_listed(
    run: Path, verify: Verify, usual_places: None
) -> None:
    (run / WEIGHTS).unlink()
    reseal(run)
    usual = told(verify(run))
    silent = set()
    untouched = (run / "spec.json").read_text()
    for keys in leaves(json.loads(untouched)):
        (run / "spec.json").write_text(untouched)
        edit_spec(run, lambda spec, keys=keys: change(spec, keys))
        by_itself = Findings()
        check_spec(run, by_itself)
        if by_itself.faults:
            continue
        reseal(run)
        verified = verify(run)
        if not verified.findings.faults:
            is_told = told(verified) - usual
            assert not is_told or (PROSE - {"tuning"}) & set(keys), keys
            silent |= set() if is_told else {keys[0]}
    assert silent == UNKNOWN


def test_the_docs_list_what_nothing_tells_of(project: Path) -> None:
    text = (project / "docs/verifying.md").read_text()
    folders = {"method_file", "init"}
    assert NOT_IN_KEY.keys() - UNKNOWN - folders == {"settings", "device"}  # which columns repeat
    for name in UNKNOWN | folders | PROSE:
        assert f"`{name}`" in text


def test_how_values_were_searched_is_found_where_lengths_do_not_tell(
    run: Path, verify: Verify
) -> None:
    spec_with("method", "tuning", "trials", value=9)(run)
    reseal(run)
    place = ("spec.json", "", "method.tuning.trials")
    verified = verify(run)
    assert places(verified) == {place, (WEIGHTS, "", "method.tuning.trials")}
    (fault,) = [fault for fault in verified.findings.faults if fault.file == "spec.json"]
    assert (fault.stored, fault.recomputed) == (9, 4)
    assert "methods/shared-adapter.toml says otherwise" in fault.text
    (run / WEIGHTS).unlink()
    reseal(run)
    assert places(verify(run)) == {place}


def test_a_card_that_was_corrected_keeps_what_its_runs_say(run: Path, verify: Verify) -> None:
    before = load_method("shared-adapter").tuning.before[0].model_dump(mode="json")
    edit_spec(run, lambda spec: spec["method"]["tuning"].update(before))
    verified = verify(run)
    assert ("spec.json", "", "method.tuning.trials") not in places(verified)
    assert any("[[tuning.before]]" in reason for reason in told(verified))
    edit_spec(run, lambda spec: spec["method"]["tuning"].update(trials=2))
    assert ("spec.json", "", "method.tuning.trials") in places(verify(run))


def test_a_resolved_card_does_not_carry_what_it_said_before() -> None:
    card = load_method("shared-adapter")
    assert card.tuning.before
    assert resolve_method(card, "mini-bart", "image-text").tuning.before == ()


def test_a_card_that_was_reworded_is_told_key_by_key() -> None:
    then = load_method("lora")
    now = then.model_copy(update={"source": "elsewhere", "deviations": ("none",)})
    findings = Findings()
    check_prose("methods/lora.toml", then, now, findings)
    assert findings.faults == []
    assert {reason.split(":")[0] for reason in findings.unchecked} == {"source", "deviations"}
    assert all("methods/lora.toml" in reason for reason in findings.unchecked)


def test_the_committed_runs_were_tuned_as_their_cards_say(project: Path) -> None:
    findings = Findings()
    for file in sorted(project.glob("results/mini/runs/*/spec.json")):
        spec = RunSpec.read(file)
        card = load_method(spec.method.name)
        now = resolve_method(card, spec.backbone, spec.suite, spec.settings)
        check_tuning(
            f"methods/{card.name}.toml",
            spec.method.tuning,
            now.tuning,
            card.tuning.before,
            findings,
        )
    assert findings.checked and findings.faults == []


def lead_nowhere(run: Path) -> None:
    for name in ("root", "backbone_path"):
        spec_with(name, value="/nowhere")(run)
    spec_with("features", value=["/nowhere"])(run)
    spec_with("method_file", value="/nowhere/shared-adapter.toml")(run)


def test_places_that_lead_nowhere_keep_nothing_from_being_checked(
    run: Path, verify: Verify, usual_places: None
) -> None:
    usual = verify(run).findings
    lead_nowhere(run)
    reseal(run)
    moved = Verifier().verify(run).findings
    assert moved.faults == []
    assert (moved.checked, moved.unchecked) == (usual.checked + 1, usual.unchecked)


def test_what_lies_in_the_usual_place_is_taken_only_where_it_is_the_runs(
    run: Path, bench: Bench, usual_places: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead_nowhere(run)
    reseal(run)
    for folder in (bench.root, bench.backbone):
        shutil.copytree(folder, tmp_path / folder.name)
    for file in (tmp_path / bench.root.name).rglob("*test1*.json"):
        file.write_text(file.read_text().replace('"True"', '"False"'))
    with (tmp_path / bench.backbone.name / "config.json").open("a") as config:
        config.write("\n")
    monkeypatch.setattr("vlbench.runs.plan.mini_root", lambda *_: tmp_path / bench.root.name)
    source = str(tmp_path / bench.backbone.name)
    monkeypatch.setattr("vlbench.backbones.BackboneRow.source_of", lambda *_: source)
    findings = Verifier().verify(run).findings
    assert findings.faults == []
    assert "the data are not at hand: /nowhere: no such folder" in findings.unchecked
    assert "the backbone's weights are not here" in findings.unchecked
