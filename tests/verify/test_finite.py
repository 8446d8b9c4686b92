"""What is no number is a fault, whatever else can be recomputed, and no such run is imported."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, safe_open, save_file

from tests.runs.builders import Bench
from tests.verify.builders import FIRST, NLVR2, edit, edit_curve, edit_spec, places, reseal
from tests.verify.conftest import Verify
from vlbench.errors import DataError
from vlbench.runs.sums import RESULT, WEIGHTS
from vlbench.verify.archive import merge, pack
from vlbench.verify.verify import Verifier


def spoil(file: Path, value: float) -> str:
    """Put a value that is no number into the last tensor; its name."""
    tensors = load_file(file)
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    name = sorted(tensors)[-1]
    tensors[name].view(-1)[-1] = value
    save_file(tensors, file, metadata)
    return name


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_adapter_that_is_not_finite_is_a_fault_and_is_not_imported(
    run: Path, verify: Verify, tmp_path: Path, value: float
) -> None:
    name = spoil(run / WEIGHTS, value)
    reseal(run)
    assert places(verify(run)) == {(WEIGHTS, name, "")}
    archive = tmp_path / "runs.zip"
    pack([run], archive, with_weights=True, with_logs=False)
    with pytest.raises(DataError, match=rf"{WEIGHTS} {name}: 'NaN or infinity'"):
        merge(archive, tmp_path / "other", lambda runs: [verify(each) for each in runs])
    assert not (tmp_path / "other" / "runs").exists()


def test_it_is_a_fault_where_the_model_cannot_be_built_too(
    run: Path, bench: Bench, verify: Verify
) -> None:
    name = spoil(run / WEIGHTS, math.nan)
    edit_spec(run, lambda spec: spec["method"].update(technique="theirs:Adapter"))
    assert (WEIGHTS, name, "") in places(Verifier().verify(run))


def set_to(column: str, value: float) -> Any:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[0][column] = value

    return change


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_values_that_cannot_be_recomputed_must_be_numbers(
    run: Path, bench: Bench, value: float
) -> None:
    edit(run / RESULT, set_to("value", value))
    edit(run / RESULT, set_to("majority", value))
    edit_spec(run, lambda spec: spec["tasks"][0].update(metric="theirs:score"))
    found = places(Verifier().verify(run))
    assert {(RESULT, FIRST, "value"), (RESULT, FIRST, "majority")} <= found


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_no_number_makes_predictions_unreadable(
    run: Path, verify: Verify, value: float
) -> None:
    edit(run / NLVR2, set_to("score", value))
    assert (NLVR2, "", "") in places(verify(run))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_or_validation_that_is_no_number_is_a_fault(
    run: Path, verify: Verify, value: float
) -> None:
    def change(lines: list[dict[str, Any]]) -> None:
        for line in lines:
            if "validation" in line:
                line["validation"]["vqav2.accuracy"] = value
            else:
                line["loss"] = value

    edit_curve(run, change)
    assert {column for _, _, column in places(verify(run))} >= {"loss", "vqav2.accuracy"}
