"""Clips: frames as vectors, and a fixed number of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vlbench.data.images import frame_files, open_clip
from vlbench.data.stores.base import FixedFrames, fixed_frames
from vlbench.data.stores.extract import ClipEncoder
from vlbench.errors import DataError, MissingError, UsageError

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("frames", [1, 2, 63, 64])
def test_a_short_clip_ends_with_zeros(frames: int) -> None:
    features = RANDOM.normal(size=(frames, 8)).astype(np.float16)
    fixed = fixed_frames(features, 64)
    assert fixed.shape == (64, 8) and fixed.dtype == np.float16
    np.testing.assert_array_equal(fixed[:frames], features)
    assert not fixed[frames:].any()


@pytest.mark.parametrize("frames", [65, 100, 127, 128, 1000])
def test_a_long_clip_is_pooled_as_torch_pools_it(frames: int) -> None:
    features = RANDOM.normal(size=(frames, 8)).astype(np.float32)
    pooled = torch.nn.functional.adaptive_max_pool1d(torch.from_numpy(features).T[None], 64)
    np.testing.assert_array_equal(fixed_frames(features, 64), pooled[0].T.numpy())


class Clips:
    """A store of clips of other lengths."""

    path = Path("clips")
    width = 4
    encoder = "mini"
    features = {"a": np.ones((2, 4), np.float16), "b": np.full((9, 4), 2, np.float16)}

    def read(self, image: str) -> np.ndarray:
        return self.features[image]

    def missing(self, ids: list[str]) -> list[str]:
        return [each for each in ids if each not in self.features]

    def fingerprint(self, ids: list[str]) -> str:
        return " ".join(ids)


def test_clips_of_any_length_are_read_as_one_array() -> None:
    store = FixedFrames(Clips(), 3)  # type: ignore[arg-type]
    assert store.get(["b", "a"]).shape == (2, 3, 4)
    np.testing.assert_array_equal(store.get(["a"])[0], [[1] * 4, [1] * 4, [0] * 4])
    assert store.missing(["a", "x"]) == ["x"]
    assert store.fingerprint(["a"]) == "a"
    assert (store.width, store.encoder) == (4, "mini")


class Means:
    name, hash, frame_width = "means", "1", 3

    def encode_frames(self, images: list[Image.Image]) -> np.ndarray:
        return np.stack([np.asarray(image, np.float32).mean(axis=(0, 1)) for image in images])


def test_a_clips_frames_are_encoded_one_by_one() -> None:
    encoder = ClipEncoder(Means(), 2)
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    found = encoder.encode([[red], [blue, red], [blue, blue, red, red]])
    np.testing.assert_array_equal(
        found,
        [[[255, 0, 0], [0, 0, 0]], [[0, 0, 255], [255, 0, 0]], [[0, 0, 255], [255, 0, 0]]],
    )
    assert (encoder.tokens, encoder.width, encoder.name) == (2, 3, "means-clips")


def test_frames_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, colour in (("00002.png", "blue"), ("00001.png", "red"), ("note.txt", None)):
        if colour:
            Image.new("RGB", (2, 2), colour).save(tmp_path / name)
        else:
            (tmp_path / name).write_text("no frame")
    assert [frame.getpixel((0, 0)) for frame in open_clip(tmp_path)] == [(255, 0, 0), (0, 0, 255)]


def test_numbers_in_names_count_as_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 1, 2):
        Image.new("RGB", (2, 2)).save(tmp_path / f"frame{number}.png")
    (tmp_path / "._1.png").write_bytes(b"what some file systems leave")
    assert [file.stem for file in frame_files(tmp_path)] == [
        "frame1",
        "frame2",
        "frame9",
        "frame10",
    ]


def test_an_encoder_of_pictures_only_is_refused_for_clips() -> None:
    class Pictures:
        name = "pictures"

    with pytest.raises(UsageError, match="clips need encode_frames and frame_width"):
        ClipEncoder(Pictures(), 2)  # type: ignore[arg-type]


def test_a_clip_without_frames_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such clip: it should be a folder of frames"):
        frame_files(tmp_path / "none")
    with pytest.raises(DataError, match=r"no frames, which would be \.bmp or "):
        frame_files(tmp_path)
