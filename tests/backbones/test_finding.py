"""Backbones by name, by card, and as a model's folder or name on the hub without a card."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration

from vlbench.backbones import build_backbone, find_backbone, weights_files
from vlbench.backbones.sources import is_here
from vlbench.cards import load_backbone_card
from vlbench.errors import CardError, MissingError, UsageError

FEATURES = 'features.image = { encoder = "mini", width = 128, tokens = 16 }'
CARD = f'title = "Mine"\nkind = "bart"\nsource = "./weights"\n{FEATURES}\n'
Publish = Callable[[Path], BartForConditionalGeneration]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def publish(config: BartConfig) -> Publish:
    """A function that writes a small BART as the hub has it."""

    def write(folder: Path) -> BartForConditionalGeneration:
        model = BartForConditionalGeneration(config)
        model.save_pretrained(folder)
        return model

    return write


def write_config(folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def cached(name: str) -> Path:
    """The folder of a model in the hub's cache."""
    model = Path("hub") / f"models--{name.replace('/', '--')}"
    (model / "refs").mkdir(parents=True)
    (model / "refs/main").write_text("0" * 40)
    return model / "snapshots" / ("0" * 40)


def write_card(text: str = CARD, path: str = "cards/mine.toml") -> str:
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
    return path


def test_a_card_of_ones_own_builds_the_weights_beside_it(publish: Publish) -> None:
    model = publish(Path("cards/weights"))
    path = write_card()
    card = find_backbone(path)
    assert (card.name, card.reference) == ("mine", str(Path(path).resolve()))
    assert is_here(card.source_of()) and card.source_of("video") == card.source_of()
    backbone = build_backbone(path)
    assert torch.equal(backbone.token_embedding[:240], model.model.shared.weight)
    assert backbone.visual.feature_width == 128 and backbone.visual_tokens == 16


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (CARD.replace("bart", "brat"), "kind: Should be 'embedded-bart', 'bart', 't5', 'chat' or"),
        (CARD.replace("source", "sorce"), "sorce: Unknown key 'sorce'. Did you mean 'source'"),
        (CARD.replace(FEATURES, ""), "no features: features.image or features.video is needed"),
        (CARD.replace("bart", "chat"), "features: a chat backbone reads the pictures themselves"),
        (CARD.replace("tokens = 16", "tokens = 0"), "features.image.tokens: Should be greater"),
        (CARD.replace('"mini"', '"mine:Encoder"'), "features.image.encoder: String should match"),
        (f'{CARD}seen = ["vqa2"]', "seen: Unknown task 'vqa2'. Did you mean 'vqav2'"),
        (f"{CARD}seen = [[1]]", "seen[0]: Should be a valid string, found [1]"),
        (f"{CARD}picture_tokens = 64", "picture_tokens: only a chat backbone has them"),
    ],
    ids=str,
)
def test_a_faulty_card_is_refused_with_its_key(text: str, fault: str) -> None:
    with pytest.raises(CardError) as caught:
        load_backbone_card(write_card(text))
    assert f"cards/mine.toml: {fault}" in str(caught.value).replace(": : ", ": ")


def test_features_that_a_card_lacks_are_named() -> None:
    with pytest.raises(UsageError, match=r"'mine' reads no video features\. Its card has: image"):
        build_backbone(write_card(), visual="video")


def test_a_folder_without_a_card_has_its_own_name_and_the_features_of_its_kind(
    publish: Publish,
) -> None:
    publish(Path("models/bart-tiny"))
    card = find_backbone("./models/bart-tiny")
    assert (card.name, card.kind) == ("bart-tiny", "bart")
    assert card.features == find_backbone("clip-bart").features
    assert card.reference == str(Path("models/bart-tiny").resolve())
    assert build_backbone(card.reference, meta=True).token_embedding.shape == (440, 16)
    assert len(weights_files(card.reference)) == 3


def test_a_name_in_the_hubs_cache_comes_before_a_folder_of_that_name(publish: Publish) -> None:
    publish(cached("nobody/bart"))
    write_config(Path("nobody/bart"), model_type="t5")
    card = find_backbone("nobody/bart")
    assert (card.name, card.kind, card.reference) == ("bart", "bart", "nobody/bart")
    shapes = build_backbone("nobody/bart", meta=True)  # of its own size, not of bart-base
    assert shapes.token_embedding.shape == (440, 16)
    assert find_backbone("./nobody/bart").kind == "t5"


def test_a_model_of_image_and_text_is_a_chat_backbone() -> None:
    write_config(Path("SmolVLM-256M"), model_type="smolvlm")
    card = find_backbone("./SmolVLM-256M")
    assert (card.name, card.kind, card.features) == ("SmolVLM-256M", "chat", {})
    write_config(Path("gpt"), model_type="gpt2")
    with pytest.raises(UsageError, match=r"gpt/config\.json: model_type: .* found 'gpt2'"):
        find_backbone("./gpt")


def test_what_is_no_backbone_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'mini-brat'\. Did you mean 'mini-bart'"):
        find_backbone("mini-brat")
    with pytest.raises(MissingError, match=r"no config\.json in .*hf download nobody/model"):
        find_backbone("nobody/model")
    assert not is_here("nobody/model")
