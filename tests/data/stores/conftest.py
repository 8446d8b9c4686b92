"""Features of five pictures."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def features() -> dict[str, np.ndarray]:
    """Ids as datasets have them -> (4, 6) float16."""
    values = np.random.default_rng(0).standard_normal((5, 4, 6)).astype(np.float16)
    names = ("COCO_val2014_000000000042", "n161313", "-e_1x", "Café_s01e01", "2354786")
    return dict(zip(names, values, strict=True))
