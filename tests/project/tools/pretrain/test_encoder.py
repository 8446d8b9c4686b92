from __future__ import annotations

import pytest
import torch

from tools.pretrain import encoder
from tools.pretrain.encoder import cell_labels, train_encoder
from vlbench.data.mini.world import Scene, Thing


def test_labels_name_colour_shape_and_size_of_each_cell() -> None:
    things = (Thing(0, 1, "red", "star", "large"), Thing(3, 3, "gray", "circle", "small"))
    labels = cell_labels(Scene(things, 0))
    assert labels.shape == (3, 16)
    assert labels[:, 1].tolist() == [1, 4, 2]
    assert labels[:, 15].tolist() == [10, 1, 1]
    assert labels.count_nonzero() == 6


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "PICTURES", 64)
    monkeypatch.setattr(encoder, "BATCH", 4)


def test_a_hundred_steps_lower_the_loss(few, monkeypatch) -> None:
    monkeypatch.setattr(encoder, "STEPS", 100)
    told: list[tuple[int, float, float]] = []
    net = train_encoder(3, lambda *each: told.append(each))
    [(step, loss, accuracy)] = told
    assert step == 100 and 0 <= accuracy <= 1
    assert loss < 2  # log(11) + log(6) + log(3) = 5.3 at the start
    assert not net.training


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(few, monkeypatch) -> None:
    monkeypatch.setattr(encoder, "STEPS", 3)
    first, again, other = (train_encoder(seed, print).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert not torch.equal(first["body.0.weight"], other["body.0.weight"])
