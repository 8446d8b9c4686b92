from __future__ import annotations

import numpy as np
from PIL import Image, ImageColor

from vlbench.data.mini.sheet import CARD, COLUMNS, GAP, INK, PICTURE, contact_sheet


def test_the_sheet_is_six_pictures_wide_and_has_four_rows_of_cards(tiny) -> None:
    sheet = contact_sheet(tiny)
    assert sheet.mode == "RGB"
    assert sheet.width == GAP + COLUMNS * (PICTURE + GAP)
    pixels = np.asarray(sheet)
    edge = (pixels[:, GAP - 4] == ImageColor.getrgb(CARD)).all(axis=1)  # left of the first pictures
    starts = np.flatnonzero(edge[1:] & ~edge[:-1])
    assert len(starts) == 4
    assert all(edge[start + 1 : start + PICTURE].all() for start in starts)
    assert 4 * PICTURE < sheet.height < 10 * PICTURE
    assert (pixels == ImageColor.getrgb(INK)).all(axis=2).sum() > 2000  # words


def test_the_sheet_shows_pictures_of_the_edition(tiny) -> None:
    sheet = np.asarray(contact_sheet(tiny))
    pictures = sorted((tiny / "nlvr2/images/dev").iterdir())
    shown = 0
    for path in pictures:
        with Image.open(path) as image:
            paper = image.convert("RGB").getpixel((0, 0))
        shown += (sheet == paper).all(axis=2).sum() > PICTURE**2 / 4
    assert shown >= COLUMNS
