from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.techniques.models import train
from vlbench.errors import MissingError
from vlbench.techniques.adapt import frozen_checksum, load_trained_state, trained_state

BATTERY = [
    {"technique": "full"},
    {"technique": "frozen"},
    {"technique": "adapter", "sharing": "task"},
    {"technique": "adapter", "sharing": "up"},
    {"technique": "compacter", "sharing": "all"},
    {"technique": "compacter", "params": {"shared_rule": True, "factorized": True}},
]


@pytest.mark.parametrize("table", BATTERY)
def test_training_moves_what_trains_and_nothing_else(toy: Any, table: dict[str, Any]) -> None:
    model = toy(**table)
    before = frozen_checksum(model)
    state = {name: tensor.clone() for name, tensor in trained_state(model).items()}
    losses = train(model, 2)
    assert losses[1] < losses[0]
    assert frozen_checksum(model) == before
    still = [name for name, t in trained_state(model).items() if torch.equal(t, state[name])]
    assert all(".layers.two." in name or "embed_positions" in name for name in still), still


@pytest.mark.parametrize("table", BATTERY)
def test_a_saved_adapter_gives_bit_equal_outputs(
    toy: Any, toy_batch: Any, table: dict[str, Any], tmp_path: Path
) -> None:
    model, fresh = toy(**table), toy(**table)
    train(model, 2)
    save_file(trained_state(model), str(tmp_path / "adapter.safetensors"))
    load_trained_state(fresh, load_file(str(tmp_path / "adapter.safetensors")), "adapter")
    with torch.no_grad():
        assert torch.equal(fresh(toy_batch), model(toy_batch))


def test_a_frozen_tensor_that_moved_changes_the_checksum(toy: Any) -> None:
    model = toy(technique="adapter")
    before = frozen_checksum(model)
    with torch.no_grad():
        model.technique.sites["encoder_0_feed_forward"].up.layers["all"].bias.add_(1)
    assert frozen_checksum(model) == before
    with torch.no_grad():
        model.backbone.token_embedding[5, 3] += 1e-6
    assert frozen_checksum(model) != before


def test_tensors_of_another_card_are_refused_and_nothing_is_copied(toy: Any) -> None:
    model = toy(technique="adapter", sharing="all")
    other = trained_state(toy(technique="adapter", sharing="task"))
    before = {name: tensor.clone() for name, tensor in trained_state(model).items()}
    with pytest.raises(MissingError, match=r"adapter\.safetensors: .* missing technique"):
        load_trained_state(model, other, "adapter.safetensors")
    assert all(torch.equal(t, before[name]) for name, t in trained_state(model).items())
