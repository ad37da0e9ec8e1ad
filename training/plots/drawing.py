"""The look that all plots share, and how a figure becomes a small PNG.

Figures are made without pyplot: no global state, no display, nothing to close.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

DPI = 110  # 7 inches are 770 pixels: the width of a card on a screen
WIDTH_IN = 7.0

# Okabe and Ito, Color Universal Design, 2008: told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#666666",
)
COLOURS = (BLUE, RED, GREEN, ORANGE, PURPLE, GREY)

_STYLE: Any = {  # the type of the keys differs between releases of matplotlib
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.8,
    "axes.prop_cycle": cycler(color=COLOURS),
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "figure.facecolor": "white",
}


@contextmanager
def drawing(path: Path, *, height_in: float, width_in: float = WIDTH_IN) -> Iterator[Figure]:
    """Yield an empty figure in the common look; write it to `path` as PNG when the block ends."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        raw = io.BytesIO()
        figure.savefig(raw, format="png", dpi=DPI)
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(raw) as image:
        # Lines, bars and text: 256 colours are enough, and a third of the bytes.
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
