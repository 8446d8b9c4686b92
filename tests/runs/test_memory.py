"""What a run's training is said to take."""

from __future__ import annotations

from tests.runs.builders import Bench
from vlbench.runs.memory import TRAINED, estimate
from vlbench.runs.plan import adapted
from vlbench.techniques.adapt import count


def test_an_estimate_counts_what_trains_what_is_frozen_and_grows_with_the_batch(
    bench: Bench,
) -> None:
    spec = bench.spec("shared-adapter")
    counts, memory = count(adapted(spec, meta=True)), estimate(spec)
    assert memory.trained == TRAINED * counts.trainable
    assert memory.frozen == 4 * (counts.total - counts.trainable)
    one, three = (estimate(spec.model_copy(update={"max_batch": n})) for n in (1, 3))
    assert abs(3 * one.activations - three.activations) <= 3 and three < memory
    assert memory.text == f"{sum(memory) / 1e9:.1f} GB"
    nothing = bench.spec("zero-shot", settings=())
    assert estimate(nothing)[1:] == (0, 0)
