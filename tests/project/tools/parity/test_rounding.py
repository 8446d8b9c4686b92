"""What float32 rounds off is no fault: the verdict is of the arithmetic and not of its order."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.models.t5.modeling_t5 import T5LayerNorm

from tests.project.tools.parity.conftest import Copy
from tools.parity import checks
from tools.parity.golden import WEIGHTS, Golden
from vlbench.checkpoints.authors import authors_names
from vlbench.techniques.adapt import adapt, count
from vlbench.techniques.adapter import LowRankLinear
from vlbench.tensors import unique_state

NAME = "t5__extra_lradapter"
GRADIENT = "grad/gqa/encoder.visual_embedding.feat_embedding.0.weight"
LEFT = "encoder.block.0.layer.0.attn_adapter.adapters.vqa.down_sampler.W_left"
STD = 2.0


def built_first(linear: LowRankLinear, x: Tensor) -> Tensor:
    """The reference's order: the matrix is built, then used."""
    return x @ (linear.left @ linear.right) + linear.b


def to_low_rank(facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    facts["method"] = "extra_lradapter"
    facts["args"] |= {"use_adapter": False, "use_lradapter": True, "low_rank_rank": 3}


@pytest.fixture
def golden(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> Golden:
    """T5 with low-rank adapters of rank 3 and large random weights, recorded by other rounding."""
    copy.edit("t5__single_adapter", to_low_rank, NAME)
    golden = Golden(copy.folder / f"{NAME}.json")
    old, facts = dict(golden.tensors), json.loads(golden.file.read_text())
    torch.manual_seed(0)
    model = adapt(golden._backbone(), golden.card, list(golden._ours)).eval()
    state = unique_state(model)
    new = {name: tensor for name, tensor in old.items() if name.startswith("in/")}
    for name in authors_names(model, golden._ours):
        tensor, recorded = state[name.ours], [old.get(WEIGHTS + each) for each in name.theirs]
        with torch.no_grad():
            if name.ours.startswith("backbone."):
                tensor.copy_(next(each for each in recorded if each is not None))
            else:
                tensor.normal_(std=STD)
        new[WEIGHTS + name.theirs[0]] = tensor.detach().clone()
    golden.tensors, golden.__dict__["model"] = new, model
    counts = count(model)
    facts |= {"trainable_params": counts.trainable, "total_params": counts.total}
    trained = [name for name in golden.names if state[name.ours].requires_grad]
    facts["trainable"] = [name.theirs[0] for name in trained]
    facts["aliases"] = {each: name.theirs[0] for name in golden.names for each in name.theirs[1:]}
    monkeypatch.setattr(LowRankLinear, "forward", built_first)
    for task in facts["tasks"]:
        passage = checks.compute(golden, task)
        facts["tasks"][task] = {
            "loss": passage.outputs["loss"].item(),
            "grad_norm": passage.norms,
            "total_grad_norm": passage.total_norm,
        }
        new |= {f"out/{task}/{name}": tensor for name, tensor in passage.outputs.items()}
        new |= {f"grad/{task}/{name}": tensor for name, tensor in passage.gradients.items()}
        for beams, name in checks._answers(golden, task).items():
            answers = model.generate(golden.batch(task), beams=beams, max_length=checks.LONGEST)
            new[f"out/{task}/{name}"] = torch.tensor(answers)
    monkeypatch.undo()
    golden.file.write_text(json.dumps(facts))
    save(golden, new)
    return golden


def save(golden: Golden, tensors: dict[str, Tensor]) -> None:
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(whole, golden.file.with_suffix(".safetensors"))


def test_large_weights_in_another_order_are_the_same_and_a_small_change_is_not(
    golden: Golden, copy: Copy
) -> None:
    outcome = copy.outcome()
    assert outcome.faults == []
    assert "gradients" in outcome.rounded
    largest = golden.tensors[GRADIENT].abs().max()
    for name, change in ((GRADIENT, 0.01 * largest), (WEIGHTS + LEFT, torch.tensor(0.01))):
        spoilt = {**golden.tensors, name: golden.tensors[name].clone()}
        spoilt[name][0, 0] += change
        save(golden, spoilt)
        assert copy.outcome().verdict == "FAILED", name


def test_a_model_in_float64_has_its_norms_in_float64(copy: Copy) -> None:
    copy.take("followup__t5__bitfit")  # with biases of its own at the norms
    golden = Golden(copy.folder / "followup__t5__bitfit.json")
    model = golden.in_double().model
    norms = [module for module in model.modules() if isinstance(module, T5LayerNorm)]
    with torch.no_grad():
        for bias in model.technique.parameters():
            bias.fill_(0.5)
    hidden = torch.randn(2, 3, model.backbone.width, dtype=torch.float64)
    for norm in norms:
        size = hidden.shape[-1:]
        exact = nn.functional.rms_norm(hidden, size, norm.weight, norm.variance_epsilon)
        torch.testing.assert_close(norm(hidden), exact + 0.5, rtol=0, atol=1e-13)
