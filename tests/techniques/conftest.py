"""The golden vectors of the authors' models, and small models to compare with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import BartConfig

from vlbench.backbones.bart import new_bart
from vlbench.cards.method import MethodCard
from vlbench.techniques.adapt import AdaptedModel, adapt
from vlbench.techniques.authors_names import authors_name
from vlbench.tensors import copy_into, unique_state
from vlbench.training.loss import loss

LOSSES = {
    "vqa": "score-weighted",
    "gqa": "per-example",
    "nlvr": "per-example",
    "caption": "per-token",
}
CARDS: dict[str, dict[str, Any]] = {
    "full": {"technique": "full"},
    "single_adapter": {"technique": "adapter", "sharing": "all"},
    "multiple_adapters": {"technique": "adapter", "sharing": "task"},
    "half_shared_up": {"technique": "adapter", "sharing": "up"},
    "single_compacter": {"technique": "compacter", "sharing": "all"},
}


class Golden:
    """One golden file: the authors' inputs and outputs, and our model with their weights."""

    def __init__(self, folder: Path, method: str) -> None:
        file = folder / f"bart__{method}.json"
        self.facts: dict[str, Any] = json.loads(file.read_text())
        self.tensors = load_file(str(file.with_suffix(".safetensors")))
        backbone = new_bart(BartConfig(**self.facts["model_config"]), 48, visual_tokens=4)
        self.model: AdaptedModel = adapt(backbone, card(**CARDS[method]), tuple(LOSSES)).eval()
        theirs = {key[8:]: value for key, value in self.of("weights/").items()}
        ours = {authors_name(name, "vqa"): t for name, t in unique_state(self.model).items()}
        copy_into(ours, theirs, file.name)

    def of(self, prefix: str) -> dict[str, torch.Tensor]:
        return {name: t for name, t in self.tensors.items() if name.startswith(prefix)}

    def out(self, task: str, name: str) -> torch.Tensor:
        return self.tensors[f"out/{task}/{name}"]

    def loss(self, logits: torch.Tensor, batch: SimpleNamespace) -> torch.Tensor:
        return loss(logits, batch.target_ids, batch.scores, LOSSES[batch.task])

    def batch(self, task: str) -> SimpleNamespace:
        names = ("input_ids", "vis_feats", "boxes", "target_ids", "scores")
        found = {name: self.tensors[f"in/{task}/{name}"] for name in names}
        if found["vis_feats"].dim() == 3:  # one picture
            found["vis_feats"] = found["vis_feats"].unsqueeze(1)
            found["boxes"] = found["boxes"].unsqueeze(1)
        return SimpleNamespace(task=task, features=found.pop("vis_feats"), **found)


def card(**table: Any) -> MethodCard:
    return MethodCard(name="test", title="Test", **table)


@pytest.fixture
def method_card() -> Callable[..., MethodCard]:
    return card


@pytest.fixture(scope="session")
def golden_folder(shared_folder: Path) -> Path:
    return shared_folder / "golden" / "methods"


@pytest.fixture(scope="session")
def golden(golden_folder: Path) -> Callable[[str], Golden]:
    return partial(Golden, golden_folder)


@pytest.fixture
def toy() -> Callable[..., AdaptedModel]:
    """A small adapted BART of random weights, for two tasks."""

    def make(**table: Any) -> AdaptedModel:
        torch.manual_seed(0)
        config = BartConfig(
            vocab_size=128,
            d_model=32,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=48,
            decoder_ffn_dim=48,
            max_position_embeddings=32,
        )
        return adapt(new_bart(config, 16, visual_tokens=4), card(**table), ("one", "two")).eval()

    return make


@pytest.fixture
def toy_batch() -> SimpleNamespace:
    generator = torch.Generator().manual_seed(0)
    return SimpleNamespace(
        task="one",
        input_ids=torch.randint(3, 100, (2, 5), generator=generator),
        features=torch.randn(2, 1, 9, 16, generator=generator),
        target_ids=torch.randint(3, 100, (2, 3), generator=generator),
        scores=torch.ones(2),
    )
