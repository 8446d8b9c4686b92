"""The table of encoders, pixels, and the embedded encoder."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib import import_module
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from vlbench.data.mini.world import Scene, Thing, draw, scenes
from vlbench.encoders import ENCODERS, load_encoder
from vlbench.encoders.base import centred, normalised, squeezed
from vlbench.encoders.mini import SIDE, TOKENS, WIDTH, MiniEncoder, MiniNet, pixels
from vlbench.errors import DataError, UsageError


def test_every_row_of_the_table_names_a_function_and_needs_no_torch_to_be_read() -> None:
    for reference in ENCODERS.values():
        module, _, function = reference.partition(":")
        assert callable(getattr(import_module(module), function))
    code = "import sys, vlbench.encoders; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_unknown_encoder_exits_with_the_nearest_and_your_own_is_named_by_its_module(
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match=r"Unknown encoder 'mni'. Did you mean 'mini'"):
        load_encoder("mni")
    encoder = load_encoder("tests.data.toy_encoder:ToyEncoder", tmp_path, "cuda:1")
    assert encoder.device == "cuda:1"
    with pytest.raises(UsageError, match=r"'tests.data.none:Mine': no module named"):
        load_encoder("tests.data.none:Mine")


def striped() -> Image.Image:
    """60 x 20: a red, a green and a blue square."""
    values = np.zeros((20, 60, 3), np.uint8)
    for square in range(3):
        values[:, 20 * square : 20 * (square + 1), square] = 255
    return Image.fromarray(values)


def test_a_squeezed_picture_keeps_its_edges_and_a_centred_frame_its_aspect() -> None:
    image = squeezed(striped(), 30)
    assert image.size == (30, 30)
    assert [image.getpixel((x, 15)).index(255) for x in (2, 15, 27)] == [0, 1, 2]
    for frame in (striped(), striped().rotate(90, expand=True)):
        cut = centred(frame, 10)
        assert cut.size == (10, 10) and cut.getpixel((5, 5)) == (0, 255, 0)
    square = striped().crop((0, 0, 20, 20))
    assert squeezed(square, 20).tobytes() == square.tobytes()
    assert centred(square, 20).tobytes() == square.tobytes()


def test_pixels_are_normalised_by_channel() -> None:
    image = Image.new("RGB", (2, 2), (0, 255, 51))
    values = normalised([image], (0.5, 0.5, 0.1), (0.5, 0.25, 1.0))
    assert values.shape == (1, 3, 2, 2)
    torch.testing.assert_close(values[0, :, 0, 0], torch.tensor([-1.0, 2.0, 0.1]))
    images = [Image.new("RGB", size, (255, 0, 51)) for size in ((SIDE, SIDE), (400, 100), (7, 9))]
    plain = pixels(images)
    assert plain.shape == (3, 3, SIDE, SIDE)
    torch.testing.assert_close(plain[:, :, 5, 5], torch.tensor([[1.0, 0.0, 0.2]] * 3))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("encoder") / "net.safetensors"
    save_file(MiniNet().state_dict(), path)
    return path


def test_a_picture_has_the_same_grid_in_any_company_and_a_frame_its_maximum(weights: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several split one picture another way than five, and round otherwise
    try:
        encoder = MiniEncoder(weights)
        images = [draw(scene) for scene in islice(scenes("train", Random(1)), 5)]
        together = encoder.encode(images)
        assert together.shape == (5, TOKENS, WIDTH) and together.dtype == np.float32
        assert np.isfinite(together).all()
        for number, image in enumerate(images):
            np.testing.assert_allclose(encoder.encode([image])[0], together[number], atol=1e-5)
        frames = encoder.encode_frames(images)
        assert frames.shape == (5, encoder.frame_width) == (5, WIDTH)
        assert np.array_equal(frames, together.max(axis=1))
    finally:
        torch.set_num_threads(threads)


def test_the_embedded_encoder_gives_the_features_that_stored_results_were_made_with() -> None:
    grid = MiniEncoder().encode([draw(Scene((Thing(0, 1, "red", "star", "large"),), 5))])[0]
    assert (grid.mean(), grid.std()) == pytest.approx((0.3559, 1.0923), abs=1e-4)


def test_weights_are_a_file_or_the_folder_that_holds_it(tmp_path: Path, weights: Path) -> None:
    file = tmp_path / "mini-encoder.safetensors"
    file.write_bytes(weights.read_bytes())
    digits = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert MiniEncoder(tmp_path).hash == MiniEncoder(weights).hash == digits
    file.write_bytes(b"none")
    with pytest.raises(DataError, match=r"mini-encoder\.safetensors: no weights of the mini"):
        MiniEncoder(tmp_path)
    with pytest.raises(DataError, match="none: no weights of the mini"):
        MiniEncoder(tmp_path / "none")
