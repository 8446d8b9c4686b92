"""CLIP's vision transformers, with a tiny one of random weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from vlbench.encoders import load_encoder
from vlbench.errors import DataError, MissingError

SIDE, PATCH = 32, 8


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        projection_dim=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=PATCH,
    )
    folder = tmp_path_factory.mktemp("clip")
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


@pytest.fixture
def encoder(weights):
    return load_encoder("clip-vit-b32", weights)


def noise(*size: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(values)


def test_a_picture_becomes_its_patches_without_the_class_token(encoder) -> None:
    assert (encoder.name, encoder.tokens, encoder.width) == ("clip-vit-b32", 16, 32)
    image = noise(50, 40)
    found = encoder.encode([image, noise(32, 32)])
    assert found.shape == (2, 16, 32) and found.dtype == np.float32
    pixels = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) / 255
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    given = torch.tensor(((pixels - mean) / std).transpose(2, 0, 1)[None], dtype=torch.float32)
    with torch.inference_mode():
        expected = encoder.net(given).last_hidden_state[0, 1:]
    np.testing.assert_allclose(found[0], expected.numpy(), atol=1e-5)


def test_the_patches_are_in_reading_order(encoder) -> None:
    image = Image.new("RGB", (SIDE, SIDE))
    before = encoder.net.vision_model.embeddings
    seen = []
    for column, row in ((0, 0), (1, 0), (0, 1)):
        changed = image.copy()
        box = (column * PATCH, row * PATCH, (column + 1) * PATCH, (row + 1) * PATCH)
        changed.paste((255, 255, 255), box)
        both = torch.stack([_pixels(image), _pixels(changed)])
        with torch.inference_mode():
            first, second = before(both)[:, 1:]
        seen.append(int((first - second).abs().sum(dim=1).argmax()))
    assert seen == [0, 1, 4]


def _pixels(image: Image.Image) -> torch.Tensor:
    return torch.tensor(np.asarray(image).transpose(2, 0, 1) / 255, dtype=torch.float32)


def test_a_frame_becomes_one_projected_vector_of_its_middle(encoder) -> None:
    frame = noise(48, 32)
    found = encoder.encode_frames([frame, frame.crop((8, 0, 40, 32))])
    assert found.shape == (2, encoder.frame_width) == (2, 24)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    norms = np.linalg.norm(found, axis=1)
    assert not np.allclose(norms, 1)  # as in VALUE's features, not scaled to length 1


def test_the_hash_changes_with_the_weights_and_with_the_preprocessing(
    weights, tmp_path, monkeypatch
) -> None:
    make = partial(load_encoder, "clip-vit-b32", weights)
    first = make().hash
    assert first == make().hash
    monkeypatch.setattr("vlbench.encoders.clip.PREPROCESSING", "clip/2")
    assert make().hash != first


def test_weights_that_are_not_on_this_machine_say_how_to_get_them(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingError, match="hf download openai/clip-vit-base-patch32"):
        load_encoder("clip-vit-b32")


def test_a_folder_that_holds_something_else_is_refused(weights, tmp_path) -> None:
    with pytest.raises(MissingError, match=r"no weights there; looked for config\.json"):
        load_encoder("clip-vit-b32", tmp_path)
    for file in weights.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match="cannot be read as a CLIP vision model"):
        load_encoder("clip-vit-b32", tmp_path)
