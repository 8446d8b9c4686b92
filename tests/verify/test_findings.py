"""Cells that are equal, and how those that are not are told."""

from __future__ import annotations

import json
import math

import pytest

from vlbench.verify.findings import Fault, Findings, are_equal


@pytest.mark.parametrize(
    ("stored", "recomputed", "expected"),
    [
        (1.0, 1.0 + 1e-12, True),
        (97.9, 97.90001, False),
        (0.0, 1e-16, True),
        (5.8e-05, 5.8001e-05, False),
        (0.0, 1e-9, False),
        (None, None, True),
        (None, 0.0, False),
        (math.nan, 1.0, False),
        (24, 24, True),
        (24, 25, False),
        ("a", "b", False),
    ],
)
def test_numbers_are_equal_up_to_rounding_and_all_else_exactly(
    stored: object, recomputed: object, expected: bool
) -> None:
    assert are_equal(stored, recomputed) is expected


def test_every_cell_is_counted_once() -> None:
    findings = Findings()
    assert findings.cell("f", "r", "c", 1, 1)
    assert not findings.cell("f", "r", "d", 1, 2)
    findings.fault("f", "r", "", "two rows", "one")
    findings.skip("no data", 3)
    findings.skip("no data", 0)
    assert (findings.checked, len(findings.faults), findings.unchecked) == (3, 2, {"no data": 3})


def test_a_fault_is_json_whatever_is_stored() -> None:
    for value in (math.nan, math.inf, b"\xff", {"a": 1}, None):
        fault = Fault("f", "r", "c", value, 1.0)
        assert json.dumps(fault.as_json(), allow_nan=False)
