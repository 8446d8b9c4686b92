from __future__ import annotations

import pytest
import torch
from torch import nn

from vlbench.backbones.visual import VisualEmbedding, downsample
from vlbench.errors import UsageError


def test_pooling_takes_the_largest_of_each_cell_and_keeps_images_apart() -> None:
    features = torch.arange(2 * 16, dtype=torch.float32).reshape(1, 2, 16, 1)
    pooled = downsample(features, 4)
    assert pooled.flatten().tolist() == [5, 7, 13, 15, 21, 23, 29, 31]


def test_pooling_seven_by_seven_to_six_by_six_is_torchs_adaptive_pool() -> None:
    features = torch.randn(2, 1, 49, 3)
    grid = features[:, 0].reshape(2, 7, 7, 3).permute(0, 3, 1, 2)
    expected = torch.nn.functional.adaptive_max_pool2d(grid, 6).flatten(2).transpose(1, 2)
    assert torch.equal(downsample(features, 36)[:, 0], expected)


@pytest.mark.parametrize(("found", "wanted"), [(50, 36), (49, 35), (25, 36)])
def test_a_grid_that_cannot_be_pooled_is_refused(found: int, wanted: int) -> None:
    with pytest.raises(UsageError, match=f"{found} tokens"):
        downsample(torch.zeros(1, 1, found, 2), wanted)


def test_the_sum_is_feature_place_image_and_object_counted_from_the_last_row() -> None:
    visual = VisualEmbedding(5, 8, nn.LayerNorm)
    table = torch.randn(20, 8)
    features, boxes = torch.randn(2, 2, 3, 5), torch.rand(2, 2, 3, 4)
    found = visual(features, table, boxes)
    b, image, token = 1, 1, 2
    x1, x2, y1, y2 = boxes[b, image, token]
    place = torch.stack([x1, x2, y1, y2, (y2 - y1) * (x2 - x1)])
    expected = (
        visual.feature(features[b, image, token])
        + visual.place(place)
        + visual.image.weight[image]
        + table[20 - 1 - token]
    )
    torch.testing.assert_close(found[b, image * 3 + token], expected)


def test_no_boxes_are_zero_boxes_and_half_precision_features_are_read() -> None:
    visual = VisualEmbedding(5, 8, nn.LayerNorm)
    nn.init.normal_(visual.image.weight)
    features, table = torch.randn(2, 1, 3, 5).half(), torch.randn(20, 8)
    zero = visual(features, table, torch.zeros(2, 1, 3, 4))
    torch.testing.assert_close(visual(features, table), zero)
