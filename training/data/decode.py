"""Image files to arrays, by the very rule that serving uses."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.errors import TooLargeError, UndecodableImageError
from service.images import FORMATS
from service.images import decode_image as decode_as_served
from training.errors import DataError

MAX_PIXELS = 100_000_000  # more than any camera of today; a decompression bomb has more


def decode_image(
    content: bytes, *, name: str, size: int
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Decode one image file to uint8 RGB [size, size, 3], with its original (width, height).

    Raises DataError, naming the file, if it is damaged, truncated, too large or no image.
    """
    try:
        fitted = decode_as_served(
            content, height=size, width=size, max_pixels=MAX_PIXELS, field=name
        )
    except (UndecodableImageError, TooLargeError) as error:
        raise DataError(f"{error.message}; replace or remove the file") from error
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:  # the header alone
        return fitted, image.size
