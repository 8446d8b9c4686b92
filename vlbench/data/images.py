"""Opening pictures: any format and mode in, RGB out; the broken are refused, never patched up."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from vlbench.errors import DataError

SUFFIXES = (".jpg", ".png", ".jpeg")
"""Looked for in this order; the contents tell the format, as many `.png` of NLVR2 hold JPEG."""
BROKEN = (OSError, SyntaxError, TypeError, ValueError, EOFError, Image.DecompressionBombError)
"""What PIL raises for files that are truncated, damaged, no pictures, or absurdly large."""


def open_image(path: Path) -> Image.Image:
    """The whole picture as RGB, pixels as stored: alpha is dropped and EXIF turns are not applied.

    16-bit grey is scaled to 8 bits. A truncated picture is an error, even where PIL was told to
    be lenient.
    """
    lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        data = path.read_bytes()
        # PIL warns of large pictures and odd metadata.
        with warnings.catch_warnings(action="ignore"), Image.open(BytesIO(data)) as image:
            image.load()
            if image.format == "PNG" and b"IEND" not in data:  # PIL does not miss the last chunk
                raise OSError("image file is truncated")
            return _rgb(image)
    except FileNotFoundError:
        raise DataError(f"{path}: no such picture") from None
    except BROKEN as error:
        known = not isinstance(error, UnidentifiedImageError)  # its text names our buffer
        reason = (str(error) if known else "") or "of no known format"
        raise DataError(f"{path}: not a readable picture: {reason}") from None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # PIL would clip all but the darkest to white
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("P", "PA", "LA"):  # transparent colours need a step between
        image = image.convert("RGBA")
    return image.convert("RGB")
