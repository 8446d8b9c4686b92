from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from vlbench.encoders.base import centred, normalised, squeezed


def striped() -> Image.Image:
    """60 x 20: a red, a green and a blue square."""
    values = np.zeros((20, 60, 3), np.uint8)
    for place in range(3):
        values[:, 20 * place : 20 * (place + 1), place] = 255
    return Image.fromarray(values)


def test_a_squeezed_picture_keeps_its_edges_and_not_its_aspect() -> None:
    found = squeezed(striped(), 30)
    assert found.size == (30, 30)
    assert [found.getpixel((x, 15)).index(255) for x in (2, 15, 27)] == [0, 1, 2]


def test_a_centred_frame_is_cut_and_keeps_its_aspect() -> None:
    for image in (striped(), striped().rotate(90, expand=True)):
        found = centred(image, 10)
        assert found.size == (10, 10) and found.getpixel((5, 5)) == (0, 255, 0)


def test_a_picture_of_the_right_size_is_left_as_it_is() -> None:
    image = striped().crop((0, 0, 20, 20))
    assert squeezed(image, 20) is image
    assert centred(image, 20).tobytes() == image.tobytes()


def test_pixels_are_normalised_by_channel() -> None:
    image = Image.new("RGB", (2, 2), (0, 255, 51))
    found = normalised([image], (0.5, 0.5, 0.1), (0.5, 0.25, 1.0))
    assert found.shape == (1, 3, 2, 2)
    torch.testing.assert_close(found[0, :, 0, 0], torch.tensor([-1.0, 2.0, 0.1]))
