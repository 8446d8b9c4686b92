"""Every card's tensors go to the authors' names and back."""

from __future__ import annotations

import pytest
import torch

from tests.techniques.toys import toy_backbone
from vlbench.cards import load_method, resolve_method
from vlbench.cards.files import own_cards
from vlbench.checkpoints.authors import authors_names, spelt
from vlbench.checkpoints.weights import match
from vlbench.errors import UsageError
from vlbench.techniques.adapt import AdaptedModel, adapt
from vlbench.tensors import unique_state

RESOLVED_FOR = {"bart": "clip-bart", "t5": "clip-t5"}
TASKS = ("vqav2", "gqa")
THEIRS = [name for name in own_cards("methods") if load_method(name).technique != "peft"]
NOT_THEIRS = {("lst", "bart")}
"""Ours alone: their code has no such model."""


def model(name: str, kind: str) -> AdaptedModel:
    settings = ["params.width=8", "params.value_width=8", "params.gate_width=8"]
    card = resolve_method(
        load_method(name),
        RESOLVED_FOR[kind],
        "image-text",
        settings if load_method(name).technique == "vl_pet" else [],
    )
    return adapt(toy_backbone(kind), card, TASKS)


@pytest.mark.parametrize("kind", RESOLVED_FOR)
@pytest.mark.parametrize("name", THEIRS)
def test_every_tensor_comes_back(name: str, kind: str) -> None:
    adapted = model(name, kind)
    own = {key: torch.randn_like(tensor) for key, tensor in unique_state(adapted).items()}
    if (name, kind) in NOT_THEIRS:
        with pytest.raises(UsageError, match="have no name"):
            authors_names(adapted, spelt(TASKS))
        return
    names = authors_names(adapted, spelt(TASKS))
    theirs = {each: own[name.ours][name.rows].clone() for name in names for each in name.theirs}
    found = match(own, names, theirs)
    found.require_all("file")
    assert found.tensors.keys() == own.keys()
    assert all(torch.equal(found.tensors[key], own[key]) for key in own)
    assert len(found.taken) + len(found.repeated) == len(theirs)
