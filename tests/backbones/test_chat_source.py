"""Chat models from folders: what is read of them, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from tests.backbones.families import BY_NAME, EACH, fresh, load, picture, write_family
from vlbench.backbones.chat_rows import Conversation
from vlbench.backbones.chat_source import (
    chat_backbone,
    chat_tokenizer,
    limit_pictures,
    load_processor,
)
from vlbench.errors import DataError, MissingError, UsageError

LIMITS = {"smolvlm": 4, "qwen2_5_vl": 4, "qwen3_vl": 4, "internvl": 4}
"""Families that can read a picture as fewer tokens, and how few."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(BY_NAME["llava"], tmp_path_factory.mktemp("llava"))


def test_a_folder_gives_the_same_model_on_the_meta_device_too(folder: Path) -> None:
    real, meta = chat_backbone(folder, None, meta=False), chat_backbone(folder, None, meta=True)
    assert real.training and all(parameter.is_meta for parameter in meta.parameters())
    shapes = [{n: p.shape for n, p in model.named_parameters()} for model in (real, meta)]
    assert shapes[0] == shapes[1]
    assert all(parameter.dtype == torch.float32 for parameter in real.parameters())
    assert len(chat_tokenizer(folder)) == len(real.token_embedding)


def test_what_cannot_be_read_is_said_in_words(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="No backbone in"):
        chat_backbone(tmp_path, None, meta=False)
    for file in ("model.safetensors", "preprocessor_config.json"):
        copy = Path(shutil.copytree(folder, tmp_path / file))
        (copy / file).unlink()
        with pytest.raises(MissingError, match="No backbone in"):
            chat_backbone(copy, None, meta=False)
    copy = Path(shutil.copytree(folder, tmp_path / "bert"))
    (copy / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UsageError, match="'bert'"):
        chat_backbone(copy, None, meta=True)


@pytest.mark.parametrize(
    ("pictures", "words"),
    [
        ("in front", "writes placeholders of its own .* the text: 5 for a picture and 6 for two"),
        ("refused", r"does not read a question about a picture \(ValueError: Nested images\)"),
    ],
)
def test_processors_that_read_no_pictures_amid_the_text_are_refused(
    pictures: str, words: str
) -> None:
    """As BLIP-2's and GOT-OCR2's, whatever else is of their models."""
    backbone = fresh("llava", meta=True)
    own = backbone.conversation.tokenizer

    def processor(images: Any, text: list[str], **options: Any) -> Any:
        if pictures == "refused":
            raise ValueError("Nested images")
        return own([4 * "<image>" + text[0]], **options)

    talk = Conversation(backbone.conversation.processor)
    talk.processor, talk.template = processor, ""
    backbone.conversation = talk
    with pytest.raises(UsageError, match=f"'llava' cannot be a backbone: its processor {words}"):
        backbone.check_processor()


def test_a_package_that_a_model_needs_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: object, **options: object) -> None:
        raise ImportError("\nTimmWrapperModel requires the timm library. Install it.\n")

    monkeypatch.setattr(AutoModelForImageTextToText, "from_config", build)
    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", build)
    for meta in (False, True):
        with pytest.raises(MissingError, match=r"'llava' needs a package .* the timm library\.$"):
            chat_backbone(folder, None, meta)


@pytest.mark.parametrize("family", EACH)
def test_pictures_are_read_as_no_more_tokens_than_a_card_says(family: str, tmp_path: Path) -> None:
    talk = Conversation(load_processor(write_family(BY_NAME[family], tmp_path)))
    token = load(family).config.image_token_id
    shown = [picture(0, 200, 100)]
    before = int(talk.row("", shown).tokens["input_ids"].eq(token).sum())
    if family not in LIMITS:
        with pytest.raises(UsageError, match=r"picture_tokens = 2: .* cannot read it as fewer"):
            limit_pictures(talk, token, 2)
        return
    limit_pictures(talk, token, LIMITS[family])
    after = int(talk.row("", shown).tokens["input_ids"].eq(token).sum())
    assert 0 < after <= LIMITS[family] < before


def test_weights_that_are_missing_are_named_and_nothing_starts_at_random(tmp_path: Path) -> None:
    folder = write_family(BY_NAME["llava"], tmp_path / "llava")
    tensors = load_file(folder / "model.safetensors")
    kept = {name: t for name, t in tensors.items() if "multi_modal_projector" not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=r"missing: .*multi_modal_projector.* and 3 more"):
        chat_backbone(folder, None, meta=False)
