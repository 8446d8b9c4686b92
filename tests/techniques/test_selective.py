from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor
from transformers.models.t5.modeling_t5 import T5LayerNorm

from tests.techniques.models import adapted
from vlbench.errors import UsageError
from vlbench.techniques.adapt import trained_parameters
from vlbench.training.optimiser import parameter_groups

BART: dict[str, Any] = {"technique": "bitfit", "train": {"norms": False}}
T5: dict[str, Any] = {**BART, "params": {"missing": True}}


def added(model: Any) -> dict[str, Tensor]:
    """The added biases by the path of their module."""
    return {path: each.bias.detach() for path, each in model.technique.added.items()}


def test_on_bart_the_biases_and_the_visual_embedding_train() -> None:
    model = adapted("bart", **BART)
    named = dict(model.backbone.language.named_parameters())
    biases = {p for name, p in named.items() if name.endswith(".bias")}
    assert biases == set(model.backbone.biases())
    trained = set(trained_parameters(model).values())
    assert trained == biases | set(model.backbone.visual.parameters())
    assert not list(model.technique.parameters())


def test_a_backbone_without_biases_is_refused_and_told_what_helps() -> None:
    with pytest.raises(UsageError, match=r"has no biases: --set params\.missing=true adds them"):
        adapted("t5", **BART)


def test_every_linear_layer_and_norm_of_t5_gets_one() -> None:
    model = adapted("t5", **T5)
    leaves = ("q", "k", "v", "o", "wi", "wo", "lm_head")
    expected = {"visual-feature-1", "visual-place-1"}
    for path, module in model.backbone.language.named_modules():
        if isinstance(module, T5LayerNorm) or path.rpartition(".")[2] in leaves:
            expected.add(f"language-{path}".replace(".", "-"))
    assert set(added(model)) == expected
    norms = 2 * 2 + 2 * 3 + 2 + 2  # of the layers of both stacks, behind them, of the vision
    assert len(expected) == norms + 2 * (4 + 2) + 2 * (8 + 2) + 1


@pytest.mark.parametrize(("kind", "table"), [("bart", BART), ("t5", T5)])
def test_no_bias_decays(kind: str, table: dict[str, Any]) -> None:
    model = adapted(kind, **table)
    decayed = set(parameter_groups(model, 0.01, model.undecayed())[0]["params"])
    assert decayed <= set(model.backbone.visual.parameters())
