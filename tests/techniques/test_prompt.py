from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.techniques.models import EACH, adapted, all_of, is_normal, is_uniform, stirred
from tests.techniques.toys import TASKS, toy_batch
from vlbench.backbones.t5 import attention
from vlbench.errors import UsageError

TABLE: dict[str, Any] = {
    "technique": "prompt",
    "params": {"length": 3, "hidden": 8},
    "train": {"norms": False},
}


def prompt_of(model: Any, task: str = "all") -> Tensor:
    """W_b tanh(W_a E), with the biases."""
    p = model.technique.prompts.layers[task]
    low = torch.tanh(p.embedding.weight @ p.first.weight.T + p.first.bias)
    prompt: Tensor = low @ p.second.weight.T + p.second.bias
    return prompt


def first_layer_inputs(model: Any, batch: Any) -> tuple[Tensor, dict[str, Any]]:
    """States and keywords as the encoder's first layer gets them."""
    found: list[Any] = []
    layer = model.backbone.layers("encoder")[0]
    layer.register_forward_pre_hook(lambda _, x, kw: found.append((x[0], kw)), with_kwargs=True)
    model.backbone.encode(batch)
    states, keywords = found[0]
    return states, keywords


def vision(model: Any, batch: Any) -> Tensor:
    """The visual tokens of a batch."""
    found: list[Tensor] = []
    model.backbone.visual.register_forward_hook(lambda _, x, y: found.append(y))
    model.backbone.encode(batch)
    return found[0]


@EACH
def test_prompts_stand_in_front_of_the_text_and_are_read(kind: str) -> None:
    model = stirred(adapted(kind, **TABLE))
    text, mask = torch.randn(2, 5, 32), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    entered, is_read = model.backbone.encoder_input(text, mask)
    for row in range(2):
        torch.testing.assert_close(entered[row], torch.cat([prompt_of(model), text[row]]))
        assert is_read[row].tolist() == [True] * 3 + mask[row].tolist()


def test_on_bart_they_get_no_position_and_pass_the_embedding_norm() -> None:
    model, batch = stirred(adapted("bart", **TABLE)), toy_batch()
    encoder = model.backbone.language.model.encoder
    table, positions = encoder.embed_tokens.weight, encoder.embed_positions.weight
    text = table[batch.input_ids] + positions[2 : 2 + 5]  # BART's table begins at 2
    prompts = prompt_of(model).expand(2, -1, -1)
    normed = encoder.layernorm_embedding(torch.cat([prompts, text], dim=1))
    states, _ = first_layer_inputs(model, batch)
    torch.testing.assert_close(states, torch.cat([normed, vision(model, batch)], dim=1))


def test_on_t5_they_are_the_first_positions_of_the_relative_bias() -> None:
    model, batch = stirred(adapted("t5", **TABLE)), toy_batch()
    text = model.backbone.token_embedding[batch.input_ids]
    prompts = prompt_of(model).expand(2, -1, -1)
    states, keywords = first_layer_inputs(model, batch)
    torch.testing.assert_close(states, torch.cat([prompts, text, vision(model, batch)], dim=1))
    bias = keywords["position_bias"]
    expected = attention(model.backbone.stack("encoder")).compute_bias(3 + 5, 3 + 5)
    torch.testing.assert_close(bias[:, :, :8, :8], expected)
    assert not bias[:, :, 8:].any() and not bias[:, :, :, 8:].any()


def test_a_task_reads_its_own_prompts_and_moves_no_others() -> None:
    model = stirred(adapted("bart", sharing="task", **TABLE))
    outputs = [model(toy_batch(task)) for task in TASKS]
    assert not torch.equal(*outputs)
    outputs[0].sum().backward()
    for name, parameter in model.technique.named_parameters():
        assert (parameter.grad is not None) == (".one." in name), name
    with pytest.raises(UsageError, match="No weights for task 'three'"):
        model(toy_batch("three"))


def test_prompts_start_small_on_bart_and_large_on_t5() -> None:
    table = {**TABLE, "params": {"length": 40, "hidden": 200}}
    bart, t5 = (dict(adapted(k, **table).technique.named_parameters()) for k in ("bart", "t5"))
    assert is_normal(all_of(bart, "weight"), 0.1)  # the toy's init_std
    assert not all_of(bart, "bias").any()
    assert is_normal(all_of(t5, "embedding.weight"), 1.0)
    assert is_uniform(all_of(t5, "first.weight"), 1 / 32**0.5)
