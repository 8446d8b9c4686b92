"""When an error is a fault."""

from __future__ import annotations

import torch

from vlbench.parity.outcome import Outcome


def settled(kind: str, error: float, rounding: float = 0.0) -> Outcome:
    outcome = Outcome("one")
    outcome.compare(kind, error, "here")
    outcome.settle({kind: rounding})
    return outcome


def test_an_error_beyond_the_tolerance_is_a_fault() -> None:
    assert settled("logits", 1e-5).verdict == "ok"
    assert settled("logits", 2e-5).faults == ["here: logits differ by 2e-05, allowed 1e-05"]
    assert settled("generated", 1).verdict == "FAILED"


def test_what_float32_rounds_off_is_none_and_is_told() -> None:
    rounded = settled("logits", 2e-5, rounding=9e-6)
    assert (rounded.verdict, rounded.rounded) == ("ok", {"logits"})
    assert settled("logits", 4e-5, rounding=9e-6).verdict == "FAILED"
    assert settled("logits", 6e-5, rounding=1.0).verdict == "FAILED"


def test_what_is_no_number_is_a_fault() -> None:
    assert settled("logits", float("nan"), rounding=1.0).verdict == "FAILED"
    outcome = Outcome("one")
    outcome.compare_gradients(torch.tensor([torch.nan, 1.0]), torch.ones(2), "here")
    assert outcome.verdict == "FAILED"
    assert outcome.told_errors() == {"gradients": None}


def test_small_gradients_are_compared_on_a_floor() -> None:
    outcome = Outcome("one")
    outcome.compare_gradients(torch.tensor([1.001, 1e-7]), torch.tensor([1.0, 0.0]), "here")
    assert outcome.verdict == "ok"
    outcome.compare_gradients(torch.tensor([1e-5]), torch.tensor([0.0]), "here")
    assert outcome.verdict == "FAILED"
