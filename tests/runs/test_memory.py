"""What a run's training is said to take."""

from __future__ import annotations

from pathlib import Path

from tests.backbones.families import BY_NAME, write_family
from tests.runs.builders import Bench
from vlbench.cards.load import all_methods
from vlbench.runs.memory import BYTES_PER_TRAINED, estimate
from vlbench.runs.plan import Selection, adapted, plan
from vlbench.techniques import resolve_method
from vlbench.techniques.adapt import count


def test_an_estimate_counts_what_trains_what_is_frozen_and_grows_with_the_batch(
    bench: Bench,
) -> None:
    spec = bench.spec("shared-adapter")
    counts, memory = count(adapted(spec, meta=True)), estimate(spec)
    assert memory.trained == BYTES_PER_TRAINED * counts.trainable
    assert memory.frozen == 4 * (counts.total - counts.trainable)
    one, three = (estimate(spec.model_copy(update={"max_batch": n})) for n in (1, 3))
    assert abs(3 * one.activations - three.activations) <= 3 and three < memory
    assert memory.text == f"{sum(memory) / 1e9:.1f} GB"
    nothing = bench.spec("zero-shot", settings=())
    assert estimate(nothing)[1:] == (0, 0)


def test_every_method_has_an_estimate_and_checkpoints_lower_it(bench: Bench) -> None:
    spec = bench.spec("shared-adapter")
    less = estimate(spec.model_copy(update={"checkpoint_activations": True}))
    assert less.activations < estimate(spec).activations
    for card in all_methods():
        method = resolve_method(card, "mini-bart", "vqav2+nlvr2")
        memory = estimate(spec.model_copy(update={"method": method}))
        assert memory.frozen + memory.trained > 0
        assert bool(memory.activations) == bool(method.train.epochs)


def test_a_chat_model_s_activations_count_behind_what_trains(bench: Bench, tmp_path: Path) -> None:
    folder = write_family(BY_NAME["smolvlm"], tmp_path / "smol")
    methods = ("zero-shot", "frozen", "shared-adapter")
    selection = Selection(methods, "vqav2", str(folder), root=bench.root, limit=4)
    nothing, projector, adapters = map(estimate, plan(selection))
    assert nothing.activations == 0 < projector.activations
    assert adapters.activations > 0 and adapters.frozen < nothing.frozen + 1
