from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from vlbench.data.mini.world import Scene, Thing, draw, scenes
from vlbench.encoders.mini import SIDE, TOKENS, WIDTH, MiniEncoder, MiniNet, pixels
from vlbench.errors import DataError, MissingError


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("encoder") / "net.safetensors"
    save_file(MiniNet().state_dict(), path)
    return path


def test_pictures_become_a_grid_of_sixteen_features(weights) -> None:
    images = [draw(scene) for scene in islice(scenes("train", Random(0)), 3)]
    features = MiniEncoder(weights).encode(images)
    assert features.shape == (3, TOKENS, WIDTH) and features.dtype == np.float32
    assert np.isfinite(features).all()


def test_pictures_of_any_size_are_squeezed_to_the_same_shape() -> None:
    images = [Image.new("RGB", size, (255, 0, 51)) for size in ((SIDE, SIDE), (400, 100), (7, 9))]
    found = pixels(images)
    assert found.shape == (3, 3, SIDE, SIDE)
    torch.testing.assert_close(found[:, :, 5, 5], torch.tensor([[1.0, 0.0, 0.2]] * 3))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Several threads split a single picture another way than five, which rounds another way."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_a_picture_has_the_same_features_in_any_company(weights) -> None:
    encoder = MiniEncoder(weights)
    images = [draw(scene) for scene in islice(scenes("train", Random(1)), 5)]
    together = encoder.encode(images)
    for number, image in enumerate(images):
        np.testing.assert_allclose(encoder.encode([image])[0], together[number], atol=1e-5)


def test_a_frame_is_the_largest_value_over_the_cells(weights) -> None:
    encoder = MiniEncoder(weights)
    images = [draw(scene) for scene in islice(scenes("train", Random(1)), 2)]
    found = encoder.encode_frames(images)
    assert found.shape == (2, encoder.frame_width) == (2, WIDTH)
    assert np.array_equal(found, encoder.encode(images).max(axis=1))


def test_weights_are_a_file_or_the_folder_that_holds_it(tmp_path, weights) -> None:
    (tmp_path / "mini-encoder.safetensors").write_bytes(weights.read_bytes())
    assert MiniEncoder(tmp_path).hash == MiniEncoder(weights).hash
    (tmp_path / "mini-encoder.safetensors").write_bytes(b"none")
    with pytest.raises(DataError, match=r"mini-encoder\.safetensors: no weights of the mini"):
        MiniEncoder(tmp_path)
    with pytest.raises(MissingError, match="no such folder"):
        MiniEncoder(tmp_path / "none")


def test_the_hash_is_that_of_the_weights_file(weights) -> None:
    assert MiniEncoder(weights).hash == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_the_net_has_the_parameters_its_formula_gives() -> None:
    widths = [3, 32, 64, 128, 128]
    formula = sum(9 * a * b + 3 * b for a, b in pairwise(widths))
    assert sum(each.numel() for each in MiniNet().parameters()) == formula == 241_536


def test_the_shipped_encoder_sees_a_change_mostly_in_the_cell_where_it_is() -> None:
    encoder = MiniEncoder()
    things = (Thing(0, 1, "red", "star", "large"), Thing(3, 2, "blue", "circle", "small"))
    before = draw(Scene(things, 5))
    after = draw(Scene((things[0], Thing(3, 2, "pink", "circle", "small")), 5))
    one, other = encoder.encode([before, after])
    change = np.linalg.norm(one - other, axis=1)  # (16,)
    assert change.argmax() == 3 * 4 + 2
    assert change[0 * 4 + 1] < change.max() / 10
