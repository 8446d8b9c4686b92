"""How the benchmarks measure."""

from __future__ import annotations

import gc
from importlib import import_module

import pytest

from benchmarks import measure


def test_ratios_are_taken_within_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    pace = iter([100.0, 1.0, 2.0, 4.0, 8.0])  # a machine that becomes slower every round
    order: list[str] = []
    now = 1.0

    def case(name: str, seconds: float) -> None:
        nonlocal clock, now
        if len(order) % 2 == 0:
            now = next(pace)
        order.append(name)
        clock += seconds * now

    monkeypatch.setattr("benchmarks.measure.time.perf_counter", lambda: clock)
    cases = {"floor": lambda: case("floor", 2.0), "other": lambda: case("other", 3.0)}
    found = measure.interleaved(cases, rounds=4)
    assert found["floor"].ratio == 1 and found["other"].ratio == pytest.approx(1.5)
    assert found["other"].spread == "1.50 (1.50 to 1.50)"
    assert found["floor"].seconds == pytest.approx(6)  # the warm-up round does not count
    assert order == ["other", "floor", "floor", "other"] * 2 + ["other", "floor"]


def test_a_benchmark_keeps_no_backbone_beside_the_one_it_measures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(measure.HOME / "benchmarks"))
    shapes = import_module("shapes")
    monkeypatch.setattr(shapes, "BART_BASE", type(shapes.BART_BASE)(d_model=16, vocab_size=9))

    def alive() -> set[int]:
        gc.collect()
        return {id(each) for each in gc.get_objects() if type(each).__name__ == "JointBart"}

    before = alive()
    first = shapes.random_backbone("clip-bart", "image")
    assert alive() - before == {id(first)}
    second = shapes.random_backbone("clip-bart", "image").state_dict()
    assert all(tensor.equal(second[name]) for name, tensor in first.state_dict().items())
