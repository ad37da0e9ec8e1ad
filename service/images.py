"""Pictures to and from bytes: the image codec that training and serving share.

An image of any size becomes uint8 RGB of the model's height and width: turned as its EXIF tag
says, transparency laid over white, centre-cropped to the model's aspect, resized with an
antialiased bicubic filter.
"""

from __future__ import annotations

import base64
import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from simplejpeg import decode_jpeg, decode_jpeg_header

from service.errors import TooLargeError, UndecodableImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Formats that are read; anything else is refused before a decoder of it runs."""

_ORIENTATION = ExifTags.Base.Orientation
_MAY_TURN = (b"Exif\0\0", b"http://ns.adobe.com/xap")
"""Metadata of a JPEG that may hold an orientation."""


def decode_image(
    raw: bytes | memoryview,
    *,
    height: int,
    width: int,
    max_pixels: int,
    field: str = "image",
) -> NDArray[np.uint8]:
    """Decode an encoded image to uint8 RGB [height, width, 3].

    The size in the header is checked before any pixel is decoded. Of an animation, the first
    frame is taken.

    Raises:
        UndecodableImageError: unknown format, damaged or truncated.
        TooLargeError: more than `max_pixels` pixels.

    """
    if not raw:
        raise UndecodableImageError(f"{field} is empty: send the bytes of an image", field=field)
    if height * width <= max_pixels:
        image_HWC = _decode_plain_jpeg(raw, height, width)
        if image_HWC is not None:
            return image_HWC
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; the pixels decide
            with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
                if image.width * image.height > max_pixels:
                    raise TooLargeError(
                        f"{field} has {image.width} x {image.height} pixels; the limit is "
                        f"{max_pixels} pixels",
                        field=field,
                    )
                if image.format == "JPEG":
                    # Decode at 1/2, 1/4 or 1/8 scale where that still leaves twice the target.
                    image.draft("RGB", (width * 2, height * 2))
                image.load()
                return fit_image(image, height=height, width=width)
    except UnidentifiedImageError as error:
        raise UndecodableImageError(
            f"{field} is not an image in one of {', '.join(FORMATS)}", field=field
        ) from error
    except TooLargeError:
        raise
    except Image.DecompressionBombError as error:
        raise TooLargeError(
            f"{field} has too many pixels; the limit is {max_pixels} pixels", field=field
        ) from error
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, ValueError...
        raise UndecodableImageError(
            f"{field} is damaged or truncated and cannot be decoded ({error})", field=field
        ) from error


def _decode_plain_jpeg(
    raw: bytes | memoryview, height: int, width: int
) -> NDArray[np.uint8] | None:
    """A JPEG that needs no turning and no resizing, as Pillow decodes it in an eighth of the time.

    Both wrap libjpeg-turbo; what takes time in Pillow is everything around it. None for any other
    image, and for one that is in any way odd: Pillow then says what is wrong with it.
    """
    if raw[:2] != b"\xff\xd8":
        return None
    try:
        header_height, header_width, colours, _ = decode_jpeg_header(raw)
        if (header_height, header_width) != (height, width) or colours not in ("YCbCr", "Gray"):
            return None
        data = bytes(raw)
        if any(mark in data for mark in _MAY_TURN):
            return None
        image_HWC: NDArray[np.uint8] = decode_jpeg(raw)
    except ValueError:
        return None
    return image_HWC


def fit_image(image: Image.Image, *, height: int, width: int) -> NDArray[np.uint8]:
    """Turn, flatten, centre-crop and resize a loaded image to uint8 RGB [height, width, 3]."""
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode != "RGB" or "transparency" in image.info:
        image = _to_rgb(image)
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), method=Image.Resampling.BICUBIC)
    return np.asarray(image)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        # 16- and 32-bit greys: scale, since `convert` would clip at 255.
        grey = np.nan_to_num(np.asarray(image, dtype=np.float64))
        white = _white(image.mode, float(grey.max()))
        image = Image.fromarray(np.clip(grey * (255.0 / white), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(canvas, image)
    return image.convert("RGB")


def _white(mode: str, high: float) -> float:
    """White of a grey mode: what the mode says, else the least usual one that `high` reaches."""
    if mode.startswith("I;16"):
        return 65535.0
    usual = (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0)
    return next((white for white in usual if high <= white), high)


def encode_png(image_HWC: NDArray[np.uint8]) -> bytes:
    """Encode uint8 RGB [H, W, 3] as PNG."""
    buffer = io.BytesIO()
    # Level 1: small pictures compress about as well, in a third of the time.
    Image.fromarray(image_HWC).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def encode_base64(raw: bytes) -> str:
    """Base64 text of `raw`, as JSON answers carry pictures."""
    return base64.b64encode(raw).decode("ascii")


def tile(image_NHWC: NDArray[np.uint8], *, columns: int, gap_px: int = 2) -> NDArray[np.uint8]:
    """Lay N pictures [N, H, W, 3] out row by row on white, `columns` to a row."""
    count, height, width, _ = image_NHWC.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    sheet = np.full(
        (rows * (height + gap_px) + gap_px, columns * (width + gap_px) + gap_px, 3), 255, np.uint8
    )
    for index, image_HWC in enumerate(image_NHWC):
        top = gap_px + (index // columns) * (height + gap_px)
        left = gap_px + (index % columns) * (width + gap_px)
        sheet[top : top + height, left : left + width] = image_HWC
    return sheet


FEATURES = ("brightness", "contrast", "red", "green", "blue", "saturation", "sharpness")
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def image_features(image_NHWC: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """What pictures look like, in a few numbers each: float32 [N] in 0..1 for each of `FEATURES`.

    Mean and standard deviation of the luma (ITU-R BT.601), means of the channels, mean distance
    of the strongest from the weakest channel, mean step of the luma from a pixel to the next.
    """
    pixel_NHWC = image_NHWC.astype(np.float32) / np.float32(255)
    luma_NHW = pixel_NHWC @ _LUMA
    spread_NHW = pixel_NHWC.max(axis=-1) - pixel_NHWC.min(axis=-1)
    mean_NC = pixel_NHWC.mean(axis=(1, 2))
    across_N = np.abs(np.diff(luma_NHW, axis=2)).mean(axis=(1, 2))
    down_N = np.abs(np.diff(luma_NHW, axis=1)).mean(axis=(1, 2))
    values = (
        luma_NHW.mean(axis=(1, 2)),
        luma_NHW.std(axis=(1, 2)),
        *mean_NC.T,
        spread_NHW.mean(axis=(1, 2)),
        (across_N + down_N) / 2,
    )
    return {name: value.astype(np.float32) for name, value in zip(FEATURES, values, strict=True)}
