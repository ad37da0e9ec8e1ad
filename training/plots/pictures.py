"""Sheets of pictures: samples by class, nearest neighbours, heat maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pictures = NDArray[np.uint8]

GAP_PX = 3
FONT_PX = 14
_INK = (30, 30, 30)
_PAPER = (255, 255, 255)


def plot_samples(
    image_NHWC: Pictures,
    label_N: NDArray[np.int64],
    classes: Sequence[str],
    path: Path,
    *,
    per_class: int = 10,
    cell_px: int = 64,
) -> Path:
    """A row per class, with its name and its first `per_class` pictures."""
    rows = [
        [(picture, "") for picture in image_NHWC[label_N == index][:per_class]]
        for index in range(len(classes))
    ]
    return _sheet(rows, list(classes), path, cell_px=cell_px)


def plot_neighbours(
    sample_QHWC: Pictures,
    neighbour_QKHWC: Pictures,
    distance_QK: NDArray[np.floating],
    path: Path,
    *,
    names: Sequence[str] | None = None,
    cell_px: int = 64,
) -> Path:
    """A row per sample: the sample first, then its nearest training pictures with distances.

    It shows training pictures: for a run's own folder, and for a published card only where the
    data's terms allow it.
    """
    rows = [
        [
            (sample, "sample"),
            *(
                (near, f"{away:.0f}" if away >= 100 else f"{away:.2f}")
                for near, away in zip(nears, aways, strict=True)
            ),
        ]
        for sample, nears, aways in zip(sample_QHWC, neighbour_QKHWC, distance_QK, strict=True)
    ]
    return _sheet(rows, list(names or [""] * len(rows)), path, cell_px=cell_px)


def plot_captioned(
    image_NHWC: Pictures,
    captions: Sequence[tuple[str, str]],
    path: Path,
    *,
    columns: int = 8,
    cell_px: int = 96,
) -> Path:
    """Pictures, each above its two short lines.

    In a published card, show pictures that may be published: generated ones, say.
    """
    rows: list[list[tuple[Pictures, str]]] = []
    for start in range(0, len(image_NHWC), columns):
        part = slice(start, start + columns)
        lines = ("\n".join(caption) for caption in captions[part])
        rows.append(list(zip(image_NHWC[part], lines, strict=True)))
    return _sheet(rows, [""] * len(rows), path, cell_px=cell_px)


def plot_heatmaps(
    image_NHWC: Pictures,
    heatmap_NHW: NDArray[np.floating],
    captions: Sequence[str],
    path: Path,
    *,
    columns: int = 8,
    cell_px: int = 96,
) -> Path:
    """Pictures, each above its class activation laid over it: bright where the class was seen.

    Heat maps are 0 to 1, of any size; `captions` holds one short line per picture. In a published
    card, show pictures that may be published: generated ones, say.
    """
    rows: list[list[tuple[Pictures, str]]] = []
    for start in range(0, len(image_NHWC), columns):
        part = slice(start, start + columns)
        rows.append([(picture, "") for picture in image_NHWC[part]])
        rows.append(
            [
                (_overlay(picture, heat, cell_px), caption)
                for picture, heat, caption in zip(
                    image_NHWC[part], heatmap_NHW[part], captions[part], strict=True
                )
            ]
        )
    return _sheet(rows, [""] * len(rows), path, cell_px=cell_px)


def _overlay(image_HWC: Pictures, heat_HW: NDArray[np.floating], side: int) -> Pictures:
    picture = Image.fromarray(image_HWC).resize((side, side), Image.Resampling.BICUBIC)
    heat = Image.fromarray((np.clip(heat_HW, 0, 1) * 255).astype(np.uint8))
    smooth = np.asarray(heat.resize((side, side), Image.Resampling.BICUBIC)) / 255.0
    colour = mpl.colormaps["inferno"](smooth)[..., :3] * 255.0
    grey = np.asarray(picture.convert("L"), np.float64)[..., None]
    mixed: Pictures = (0.45 * grey + 0.55 * colour).astype(np.uint8)
    return mixed


def _sheet(
    rows: Sequence[Sequence[tuple[Pictures, str]]],
    names: Sequence[str],
    path: Path,
    *,
    cell_px: int,
) -> Path:
    """Lay out rows of (picture, caption) with a name before each row, and write the sheet."""
    font = ImageFont.load_default(FONT_PX)
    margin = max((round(font.getlength(name)) for name in names), default=0)
    left = margin + 3 * GAP_PX if margin else GAP_PX
    step_x = cell_px + GAP_PX
    line_px = FONT_PX + 2 * GAP_PX
    lines = [max(caption.count("\n") + bool(caption) for _, caption in row) for row in rows]
    heights = [cell_px + GAP_PX + line_px * count for count in lines]  # below, the captions
    columns = max(len(row) for row in rows)
    sheet = Image.new("RGB", (left + columns * step_x, GAP_PX + sum(heights)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    top = GAP_PX
    for cells, name, height in zip(rows, names, heights, strict=True):
        pen.text((GAP_PX, top + cell_px / 2), name, fill=_INK, font=font, anchor="lm")
        for column, (picture, caption) in enumerate(cells):
            x = left + column * step_x
            sheet.paste(_enlarge(picture, cell_px), (x, top))
            for number, line in enumerate(caption.split("\n")):
                below = top + cell_px + 1 + number * line_px
                pen.text((x + cell_px / 2, below), line, fill=_INK, font=font, anchor="ma")
        top += height
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, format="PNG", optimize=True)
    return path


def _enlarge(image_HWC: Pictures, cell_px: int) -> Image.Image:
    """To the cell's size; by whole pixels where it is a multiple, so that nothing is invented."""
    image = Image.fromarray(image_HWC)
    whole = cell_px % image.width == 0 and cell_px % image.height == 0
    method = Image.Resampling.NEAREST if whole else Image.Resampling.BICUBIC
    return image.resize((cell_px, cell_px), method)
