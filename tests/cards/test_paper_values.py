"""The cards hold the values of the authors' scripts (scripts/image/*.sh of VL-Adapter)."""

from __future__ import annotations

import pytest

from vlbench.cards import load_method, resolve_method

SCRIPTS = {  # learning rate, task prompts, norms, sharing on BART
    "full": (1e-4, False, True, "all"),
    "adapter": (3e-4, False, True, "task"),
    "shared-adapter": (1e-3, True, True, "all"),
    "half-shared-adapter": (3e-4, False, True, "up"),
    "compacter": (1e-3, False, True, "task"),
    "shared-compacter": (1e-3, True, True, "all"),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_card_holds_the_script_values_on_bart(name: str) -> None:
    card = resolve_method(load_method(name), "clip-bart", "image-text")
    train = card.train
    assert (train.learning_rate, train.task_prompts, train.norms, card.sharing) == SCRIPTS[name]
    assert (train.epochs, train.batch_size, train.warmup_ratio) == (20, 500, 0.1)
    assert (train.weight_decay, train.clip_norm, train.dropout) == (0.01, 5.0, 0.1)


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != "full"])
def test_norms_stay_frozen_on_t5_as_they_did(name: str) -> None:
    card = resolve_method(load_method(name), "clip-t5", "image-text")
    assert (card.train.batch_size, card.train.norms) == (300, False)
