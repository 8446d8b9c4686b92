"""A golden that was changed fails: parity that cannot fail would prove nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from tests.project.tools.parity.conftest import Change, Copy
from tools.parity.checks import check_folder

WEIGHT = "weights/encoder.block.0.layer.0.attn_adapter.adapters.vqa.down_sampler.weight"
GRADIENT = WEIGHT.replace("weights/", "grad/gqa/")
TRAINED = WEIGHT.removeprefix("weights/")
ANSWERS = "out/caption/generate_beams5"
STATE = "out/nlvr/encoder_last_hidden_state"
LAST = "final/encoder.visual_embedding.feat_embedding.0.weight"
SPOILERS: dict[str, Change] = {
    "flip a weight": lambda facts, tensors: tensors[WEIGHT][1, 2].mul_(-1),
    "drop a weight": lambda facts, tensors: tensors.pop(WEIGHT),
    "drop a gradient": lambda facts, tensors: tensors.pop(GRADIENT),
    "change a gradient": lambda facts, tensors: tensors[GRADIENT][0, 0].add_(0.01),
    "add a tensor": lambda facts, tensors: tensors.update({"out/vqa/more": torch.zeros(1)}),
    "change an answer": lambda facts, tensors: tensors[ANSWERS][1, 3].add_(1),
    "change a state": lambda facts, tensors: tensors[STATE][0, 0, 0].add_(1e-3),
    "change the loss": lambda facts, tensors: facts["tasks"]["gqa"].update(
        loss=facts["tasks"]["gqa"]["loss"] + 1e-3
    ),
    "change a count": lambda facts, tensors: facts.update(
        trainable_params=facts["trainable_params"] + 1
    ),
    "freeze a tensor": lambda facts, tensors: facts["trainable"].pop(),
    "share less": lambda facts, tensors: facts["aliases"].popitem(),
    "change a norm": lambda facts, tensors: norms(facts).update(
        {TRAINED: norms(facts)[TRAINED] * 1.1}
    ),
    "change an option": lambda facts, tensors: facts["args"].update(use_single_adapter=False),
    "forget the tasks": lambda facts, tensors: facts.update(tasks={}),
    "ask for the unknown": lambda facts, tensors: facts["args"].update(use_magic=True),
}
OF_OPTIMISER: dict[str, Change] = {
    "spoil the last weights": lambda facts, tensors: tensors[LAST][0, 0].add_(1e-4),
    "change a rate": lambda facts, tensors: facts["steps"][3].update(
        lr_used=facts["steps"][3]["lr_used"] * 1.01
    ),
    "change a step": lambda facts, tensors: facts["steps"][5].update(
        loss=facts["steps"][5]["loss"] + 1e-3
    ),
    "swap tasks": lambda facts, tensors: facts["steps"][1].update(task="caption"),
}


def norms(facts: Any) -> Any:
    return facts["tasks"]["vqa"]["grad_norm"]


@pytest.mark.parametrize("name", SPOILERS)
def test_one_change_is_enough(copy: Copy, name: str) -> None:
    copy.edit("t5__single_adapter", SPOILERS[name])
    assert copy.outcome().verdict == "FAILED"


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_half_a_file_fails(copy: Copy, suffix: str) -> None:
    copy.take("t5__single_adapter")
    file = copy.folder / f"t5__single_adapter{suffix}"
    file.write_bytes(file.read_bytes()[:-500])
    (fault,) = copy.outcome().faults
    assert "not readable" in fault


@pytest.mark.parametrize("name", OF_OPTIMISER)
def test_one_change_of_a_trace_is_enough(copy: Copy, name: str) -> None:
    copy.edit("optim__t5__single_adapter", OF_OPTIMISER[name])
    copy.take("t5__single_adapter")
    (outcome,) = check_folder(copy.folder, ["optim__t5__single_adapter"])
    assert outcome.verdict == "FAILED"


def test_a_trace_needs_the_file_it_starts_from(copy: Copy) -> None:
    copy.take("optim__t5__single_adapter")
    assert copy.outcome().verdict == "FAILED"


def test_another_order_of_tasks_fails(copy: Copy) -> None:
    file = copy.folder / "multitask_order.json"
    facts = json.loads((copy.source / file.name).read_text())
    first = next(iter(facts["orders"].values()))
    first["1"][0], first["1"][1] = first["1"][1], first["1"][0]
    file.write_text(json.dumps(facts))
    assert copy.outcome().verdict == "FAILED"
