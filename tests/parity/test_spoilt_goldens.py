"""A golden that was changed fails: parity that cannot fail would prove nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from tests.parity.conftest import Copy
from vlbench.parity.folder import check_folder

WEIGHT = "weights/encoder.block.0.layer.0.attn_adapter.adapters.vqa.down_sampler.weight"
GRADIENT = WEIGHT.replace("weights/", "grad/gqa/")
ANSWERS = "out/caption/generate_beams5"


def flip_a_weight(facts: Any, tensors: Any) -> None:
    tensors[WEIGHT][1, 2] *= -1


def spoil_a_weight(facts: Any, tensors: Any) -> None:
    tensors[WEIGHT][1, 2] = torch.nan


def drop_a_weight(facts: Any, tensors: Any) -> None:
    del tensors[WEIGHT]


def cut_a_weight(facts: Any, tensors: Any) -> None:
    tensors[WEIGHT] = tensors[WEIGHT][:-1].clone()


def rename_a_weight(facts: Any, tensors: Any) -> None:
    tensors[WEIGHT.replace("down", "up2")] = tensors.pop(WEIGHT)


def drop_a_gradient(facts: Any, tensors: Any) -> None:
    del tensors[GRADIENT]


def change_a_gradient(facts: Any, tensors: Any) -> None:
    tensors[GRADIENT][0, 0] += 0.01


def add_a_tensor(facts: Any, tensors: Any) -> None:
    tensors["out/vqa/more"] = torch.zeros(1)


def change_an_answer(facts: Any, tensors: Any) -> None:
    tensors[ANSWERS][1, 3] += 1


def drop_an_answer(facts: Any, tensors: Any) -> None:
    tensors[ANSWERS] = tensors[ANSWERS][:-1].clone()


def drop_all_answers(facts: Any, tensors: Any) -> None:
    del tensors[ANSWERS]


def change_a_state(facts: Any, tensors: Any) -> None:
    tensors["out/nlvr/encoder_last_hidden_state"][0, 0, 0] += 1e-3


def change_the_loss(facts: Any, tensors: Any) -> None:
    facts["tasks"]["gqa"]["loss"] += 1e-3


def change_a_count(facts: Any, tensors: Any) -> None:
    facts["trainable_params"] += 1


def freeze_a_tensor(facts: Any, tensors: Any) -> None:
    facts["trainable"].pop()


def share_less(facts: Any, tensors: Any) -> None:
    facts["aliases"].popitem()


def stop_a_gradient(facts: Any, tensors: Any) -> None:
    facts["tasks"]["vqa"]["grad_norm"][WEIGHT.removeprefix("weights/")] = None


def change_a_norm(facts: Any, tensors: Any) -> None:
    facts["tasks"]["vqa"]["grad_norm"][WEIGHT.removeprefix("weights/")] *= 1.1


def change_an_option(facts: Any, tensors: Any) -> None:
    facts["args"]["use_single_adapter"] = False


def forget_the_sizes(facts: Any, tensors: Any) -> None:
    del facts["model_config"]


def forget_the_tasks(facts: Any, tensors: Any) -> None:
    facts["tasks"] = {}


def cut_the_inputs(facts: Any, tensors: Any) -> None:
    tensors["in/vqa/input_ids"] = tensors["in/vqa/input_ids"][:2].clone()


def make_heads_that_do_not_fit(facts: Any, tensors: Any) -> None:
    facts["model_config"]["num_heads"] = 5


def ask_for_the_unknown(facts: Any, tensors: Any) -> None:
    facts["args"]["use_magic"] = True


SPOILERS = [
    each for each in list(globals().values()) if getattr(each, "__module__", "") == __name__
]


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda spoil: spoil.__name__)
def test_one_change_is_enough(copy: Copy, spoil: Any) -> None:
    copy.edit("t5__single_adapter", spoil)
    assert copy.outcome().verdict == "FAILED"


def test_a_file_of_another_name_fails(copy: Copy) -> None:
    copy.edit("t5__single_adapter", lambda *_: None, "t5__multiple_adapters")
    assert copy.outcome().faults == ["its JSON is of t5__single_adapter"]


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_half_a_file_fails(copy: Copy, suffix: str) -> None:
    copy.take("t5__single_adapter")
    file = copy.folder / f"t5__single_adapter{suffix}"
    file.write_bytes(file.read_bytes()[:-500])
    (fault,) = copy.outcome().faults
    assert "not readable" in fault


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_half_a_pair_fails(copy: Copy, suffix: str) -> None:
    copy.take("t5__single_adapter")
    (copy.folder / f"t5__single_adapter{suffix}").unlink()
    assert copy.outcome().faults == [f"half a pair: no t5__single_adapter{suffix}"]


def spoil_the_last_weights(facts: Any, tensors: Any) -> None:
    tensors["final/encoder.visual_embedding.feat_embedding.0.weight"][0, 0] += 1e-4


def drop_a_last_weight(facts: Any, tensors: Any) -> None:
    tensors.popitem()


def spare_less(facts: Any, tensors: Any) -> None:
    facts["no_decay_trainables"].pop()


def change_a_rate(facts: Any, tensors: Any) -> None:
    facts["steps"][3]["lr_used"] *= 1.01


def change_a_step(facts: Any, tensors: Any) -> None:
    facts["steps"][5]["loss"] += 1e-3


def swap_tasks(facts: Any, tensors: Any) -> None:
    facts["steps"][1]["task"] = "caption"


OF_OPTIMISER = [spoil_the_last_weights, drop_a_last_weight, spare_less, change_a_rate]


@pytest.mark.parametrize(
    "spoil", [*OF_OPTIMISER, change_a_step, swap_tasks], ids=lambda spoil: spoil.__name__
)
def test_one_change_of_a_trace_is_enough(copy: Copy, spoil: Any) -> None:
    copy.edit("optim__t5__single_adapter", spoil)
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


def test_lora_that_the_authors_left_out_is_told_and_not_run(copy: Copy) -> None:
    def to_lora(facts: Any, tensors: Any) -> None:
        facts["method"] = "single_lora"
        facts["args"] |= {"unfreeze_language_model": False, "use_lora": True}

    copy.edit("t5__full", to_lora, "t5__single_lora")
    outcome = copy.outcome()
    assert outcome.verdict == "not run"
    assert outcome.not_run == "the authors' T5 has no LoRA in it: not run"
