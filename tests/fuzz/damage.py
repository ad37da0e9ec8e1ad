"""Ways to damage bytes, and the pictures that are damaged: every format that is read.

All is drawn from a seed, so that a failure can be repeated: `damaged(whole, seed)`.
"""

from __future__ import annotations

import functools
import io
import random
import struct
from collections.abc import Callable

import numpy as np
from PIL import Image

from tests.pictures import bomb, picture

Damage = Callable[[random.Random, bytearray], bytearray]

SPECIAL = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)
"""Bytes at which decoders turn: signs, ends, JPEG's markers."""


def cut(draw: random.Random, data: bytearray) -> bytearray:
    return data[: draw.randrange(len(data))]


def head_lost(draw: random.Random, data: bytearray) -> bytearray:
    return data[draw.randrange(1, len(data) + 1) :]


def flipped_bits(draw: random.Random, data: bytearray) -> bytearray:
    for _ in range(draw.choice((1, 1, 2, 8, 64))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return data


def special_bytes(draw: random.Random, data: bytearray) -> bytearray:
    """Near the start, where headers are."""
    for _ in range(draw.choice((1, 2, 4))):
        data[draw.randrange(min(len(data), 64))] = draw.choice(SPECIAL)
    return data


def special_number(draw: random.Random, data: bytearray) -> bytearray:
    """A length or an offset that is far off."""
    number = struct.pack(
        draw.choice((">I", "<I")), draw.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1))
    )
    place = draw.randrange(max(1, len(data) - 4))
    data[place : place + 4] = number
    return data


def lost_piece(draw: random.Random, data: bytearray) -> bytearray:
    start = draw.randrange(len(data))
    del data[start : start + draw.randrange(1, 64)]
    return data


def repeated_piece(draw: random.Random, data: bytearray) -> bytearray:
    start = draw.randrange(len(data))
    piece = data[start : start + draw.randrange(1, 64)]
    data[start:start] = piece * draw.choice((1, 2, 50))
    return data


def swapped_pieces(draw: random.Random, data: bytearray) -> bytearray:
    half = max(1, len(data) // 2)
    one, other = draw.randrange(half), draw.randrange(half, len(data) + 1)
    size = draw.randrange(1, 32)
    first, second = data[one : one + size], data[other : other + size]
    data[other : other + size], data[one : one + size] = first, second
    return data


def blanked(draw: random.Random, data: bytearray) -> bytearray:
    start = draw.randrange(len(data))
    end = min(len(data), start + draw.randrange(1, 256))
    data[start:end] = bytes([draw.choice(SPECIAL)]) * (end - start)
    return data


def noise(draw: random.Random, data: bytearray) -> bytearray:
    """The first bytes, which tell the format, and then nothing but noise."""
    return data[: draw.randrange(2, 40)] + draw.randbytes(draw.randrange(1, 2048))


DAMAGES: tuple[Damage, ...] = (
    cut, head_lost, flipped_bits, special_bytes, special_number, lost_piece, repeated_piece,
    swapped_pieces, blanked, noise,
)  # fmt: skip


def damaged(whole: bytes, seed: int) -> bytes:
    """`whole` with one or two damages; never empty."""
    draw = random.Random(seed)
    data = bytearray(whole)
    for _ in range(draw.choice((1, 1, 2))):
        data = draw.choice(DAMAGES)(draw, data) or bytearray(b"\0")
    return bytes(data)


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


@functools.cache
def pictures() -> tuple[bytes, ...]:
    """One of every format that is read, in the modes and with the metadata that it may have."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 4), dtype=np.uint8)
    rgba = Image.fromarray(pixels)
    rgb, grey, palette = rgba.convert("RGB"), rgba.convert("L"), rgba.convert("P")
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    return (
        *(picture(kind=kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM", "WEBP")),
        _encoded(rgb, "JPEG", progressive=True, exif=exif, quality=90),
        _encoded(rgba.convert("CMYK"), "JPEG"),
        _encoded(grey, "JPEG", restart_marker_blocks=2),
        _encoded(rgba, "PNG", exif=exif),
        _encoded(palette, "PNG", transparency=3),
        _encoded(deep, "PNG"),
        _encoded(rgba, "WEBP", lossless=True),
        _encoded(rgb, "GIF", save_all=True, append_images=[grey.convert("RGB")]),
        _encoded(palette, "BMP"),
        _encoded(rgb, "TIFF", compression="tiff_lzw"),
        _encoded(rgba, "TIFF", compression="tiff_adobe_deflate"),
        _encoded(grey, "PPM"),
        bomb(30_000, 30_000),
    )


def damaged_picture(seed: int) -> bytes:
    """The `seed`th damaged picture."""
    whole = pictures()
    return damaged(whole[seed % len(whole)], seed)
