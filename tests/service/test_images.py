"""Bytes from anybody become pixels or a typed refusal, never anything else."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from service.errors import TooLargeError, TriptychError, UndecodableImageError
from service.images import (
    FEATURES,
    FORMATS,
    decode_image,
    encode_base64,
    encode_png,
    image_features,
    tile,
)
from tests.pictures import bomb

MAX_PIXELS = 1_000_000


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def decode(raw: bytes, height: int = 8, width: int = 8) -> NDArray[np.uint8]:
    image_HWC = decode_image(raw, height=height, width=width, max_pixels=MAX_PIXELS)
    assert image_HWC.shape == (height, width, 3)
    assert image_HWC.dtype == np.uint8
    return image_HWC


def plain(mode: str, colour: Any, size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new(mode, size, colour)


def halves() -> Image.Image:
    """8 x 8: red above, blue below."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4, :, 0] = 255
    pixels[4:, :, 2] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read(kind: str) -> None:
    image_HWC = decode(encode(plain("RGB", (250, 120, 10), (40, 30)), kind))
    assert np.abs(image_HWC.astype(int) - (250, 120, 10)).max() <= 8  # JPEG and WebP are lossy


def test_a_picture_of_the_right_size_is_untouched() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode(encode(Image.fromarray(pixels))), pixels)


@pytest.mark.parametrize(
    ("orientation", "top_is_red"), [(1, True), (3, False), (6, None), (8, None)]
)
def test_exif_turns_the_picture(orientation: int, top_is_red: bool | None) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image_HWC = decode(encode(halves(), exif=exif))
    if top_is_red is None:  # a quarter turn: red and blue stand side by side
        assert (image_HWC[:, :4] == image_HWC[0, 0]).all()
        assert tuple(image_HWC[0, 0]) != tuple(image_HWC[0, 7])
    else:
        assert tuple(image_HWC[0, 0]) == ((255, 0, 0) if top_is_red else (0, 0, 255))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_damaged_exif_does_not_cost_the_picture(kind: str) -> None:
    raw = encode(plain("RGB", (0, 255, 0)), kind, exif=b"Exif\0\0II*\0\xff\xff\xff\xffnonsense")
    assert decode(raw)[4, 4, 1] > 200


@pytest.mark.parametrize(
    ("mode", "colour"), [("RGBA", (255, 0, 0, 0)), ("LA", (0, 0)), ("RGBA", (0, 0, 0, 0))]
)
def test_transparency_is_laid_over_white(mode: str, colour: Any) -> None:
    assert (decode(encode(plain(mode, colour))) == 255).all()


def test_half_transparency_is_mixed_with_white() -> None:
    image_HWC = decode(encode(plain("RGBA", (255, 0, 0, 128))))
    assert np.abs(image_HWC[0, 0].astype(int) - (255, 127, 127)).max() <= 1


@pytest.mark.parametrize(("mode", "colour"), [("P", 3), ("L", 77), ("RGB", (9, 8, 7))])
def test_a_transparent_colour_is_white_too(mode: str, colour: Any) -> None:
    image = plain(mode, colour)
    if mode == "P":
        image.putpalette([10, 20, 30] * 256)
    assert (decode(encode(image, transparency=colour)) == 255).all()


def test_a_palette_is_looked_up() -> None:
    image = plain("P", 1)
    image.putpalette([0, 0, 0, 12, 34, 56])
    assert (decode(encode(image)) == (12, 34, 56)).all()


@pytest.mark.parametrize(
    ("grey", "expected"), [(0, 0), (65535, 255), (32768, 128), (200, 1), (255, 1)]
)
def test_sixteen_bits_keep_their_scale(grey: int, expected: int) -> None:
    image = Image.fromarray(np.full((8, 8), grey, np.uint16))
    image_HWC = decode(encode(image))
    assert np.abs(image_HWC.astype(int) - expected).max() <= 1


def test_sixteen_bits_are_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    image_HWC = decode(encode(Image.fromarray(ramp)))
    assert len(np.unique(image_HWC)) > 50


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_floating_point_greys_are_scaled(white: float) -> None:
    ramp = np.linspace(0, white, 64, dtype=np.float32).reshape(8, 8)
    image_HWC = decode(encode(Image.fromarray(ramp), "TIFF"))
    expected = np.linspace(0, 255, 64).reshape(8, 8)
    assert np.abs(image_HWC[..., 0] - expected).max() <= 1


def test_a_grey_that_is_no_number_is_a_pixel_all_the_same() -> None:
    values = np.full((8, 8), np.nan, np.float32)
    values[0, 0] = 1
    image_HWC = decode(encode(Image.fromarray(values), "TIFF"))
    assert image_HWC[0, 0, 0] == 255
    assert image_HWC[4, 4, 0] == 0


def test_cmyk_becomes_rgb() -> None:
    image_HWC = decode(encode(plain("CMYK", (0, 255, 255, 0)), "JPEG"))
    assert image_HWC[4, 4, 0] > 200
    assert image_HWC[4, 4, 1:].max() < 60


def test_black_and_white_is_read() -> None:
    assert (decode(encode(plain("1", 1))) == 255).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    frames = [plain("RGB", (250, 5, 5)), plain("RGB", (5, 5, 250))]
    raw = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    image_HWC = decode(raw)
    assert image_HWC[4, 4, 0] > 200
    assert image_HWC[4, 4, 2] < 60


def test_the_centre_is_kept() -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = (0, 200, 0)
    image_HWC = decode(encode(Image.fromarray(wide)))
    assert (image_HWC == (0, 200, 0)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 2), (1000, 7)])
def test_odd_proportions_are_read(size: tuple[int, int]) -> None:
    assert (decode(encode(plain("RGB", (1, 2, 3), size))) == (1, 2, 3)).all()


def test_another_size_and_aspect_can_be_asked_for() -> None:
    decode(encode(plain("RGB", 0, (50, 40))), height=5, width=9)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_picture_is_refused(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    raw = encode(Image.fromarray(noise), kind)
    with pytest.raises(UndecodableImageError) as caught:
        decode(raw[: len(raw) // 2])
    assert caught.value.field == "image"


@pytest.mark.parametrize(
    "raw",
    [b"", b"\0", b"hello", b"<html></html>", b"%PDF-1.7", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM"],
)
def test_what_is_no_picture_is_refused(raw: bytes) -> None:
    with pytest.raises(UndecodableImageError):
        decode(raw)


def test_a_format_off_the_list_is_refused() -> None:
    with pytest.raises(UndecodableImageError, match="JPEG, PNG"):
        decode(encode(plain("RGB", 0), "ICO"))


def test_the_field_is_named() -> None:
    with pytest.raises(UndecodableImageError, match=r"images\[3\]") as caught:
        decode_image(b"no", height=8, width=8, max_pixels=9, field="images[3]")
    assert caught.value.field == "images[3]"


@pytest.mark.parametrize(
    "size", [(1001, 1000), (10_000, 10_000), (100_000, 100_000), (2**31 - 1, 1)]
)
def test_the_header_is_enough_to_refuse_a_bomb(size: tuple[int, int]) -> None:
    with pytest.raises(TooLargeError, match=f"limit is {MAX_PIXELS} pixels") as caught:
        decode(bomb(*size))
    assert caught.value.field == "image"


def test_the_limit_itself_is_allowed() -> None:
    raw = encode(plain("L", 5, (1000, 1000)))
    assert (decode(raw) == 5).all()


@given(st.binary(max_size=300), st.sampled_from(FORMATS), st.integers(0, 400))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_bytes_are_pixels_or_a_typed_refusal(noise: bytes, kind: str, place: int) -> None:
    whole = bytearray(encode(plain("RGB", (50, 100, 150), (16, 12)), kind))
    whole[place : place + len(noise)] = noise
    for raw in (noise, bytes(whole)):
        try:
            decode(raw)
        except TriptychError as error:
            assert 400 <= error.status < 500


def test_png_and_base64_round_trip() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    raw = base64.b64decode(encode_base64(encode_png(pixels)))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(raw))), pixels)


def test_tiles_are_laid_row_by_row_on_white() -> None:
    images_NHWC = np.stack([np.full((3, 4, 3), value, np.uint8) for value in (10, 20, 30)])
    sheet = tile(images_NHWC, columns=2, gap_px=1)
    assert sheet.shape == (1 + 2 * 4, 1 + 2 * 5, 3)
    assert (sheet[1:4, 1:5] == 10).all()
    assert (sheet[1:4, 6:10] == 20).all()
    assert (sheet[5:8, 1:5] == 30).all()
    assert (sheet[5:8, 6:10] == 255).all()
    assert (sheet[0] == 255).all()


def test_fewer_tiles_than_columns_make_one_row() -> None:
    assert tile(np.zeros((2, 3, 3, 3), np.uint8), columns=9, gap_px=0).shape == (3, 6, 3)


def test_features_of_pictures() -> None:
    grey = np.full((8, 8, 3), 51, np.uint8)
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, ::2] = 255
    found = image_features(np.stack([grey, red, stripes]))
    expected = {
        "brightness": [0.2, 0.299, 0.5],
        "contrast": [0, 0, 0.5],
        "red": [0.2, 1, 0.5],
        "green": [0.2, 0, 0.5],
        "blue": [0.2, 0, 0.5],
        "saturation": [0, 1, 0],
        "sharpness": [0, 0, 0.5],  # every step across is 1, every step down 0
    }
    assert tuple(found) == FEATURES
    for name, values in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], values, atol=1e-6)


def test_features_of_a_picture_do_not_depend_on_its_company() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    together = image_features(images)
    for row in range(5):
        alone = image_features(images[row : row + 1])
        for name in FEATURES:
            np.testing.assert_allclose(alone[name][0], together[name][row], atol=1e-6)
