"""Every plot becomes a small PNG that shows what it was given."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.measures.calibration import reliability
from training.plots.classification import plot_class_shares, plot_confusion, plot_reliability
from training.plots.curves import Panel, plot_curves, plot_loss_by_position
from training.plots.pictures import plot_heatmaps, plot_neighbours, plot_samples

CLASSES = ("ant", "bee", "a_rather_long_class_name")
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (12, 8, 8, 3), np.uint8)
RECORDS = [{"step": step, "train_loss": 2.0 / (step + 1)} for step in range(50)] + [
    {"step": step, "val_loss": 3.0 / (step + 1)} for step in (10, 20)
]


def bins(path: Path) -> Path:
    probability = RANDOM.dirichlet(np.ones(3), 200)
    return plot_reliability(reliability(probability, RANDOM.integers(0, 3, 200)), path)


PLOTS: dict[str, Callable[[Path], Path]] = {
    "confusion": lambda path: plot_confusion(np.arange(9).reshape(3, 3), CLASSES, path),
    "confusion of 40 classes": lambda path: plot_confusion(
        np.eye(40, dtype=np.int64), [str(index) for index in range(40)], path
    ),
    "reliability": bins,
    "class shares": lambda path: plot_class_shares(
        np.array([0.5, np.nan, 1.0]), CLASSES, path, title="Accuracy", value_label="Share"
    ),
    "class shares with overall": lambda path: plot_class_shares(
        np.array([0.5, 0.0, 1.0]), CLASSES, path, title="A", value_label="B", overall=0.5
    ),
    "curves": lambda path: plot_curves(
        RECORDS,
        [
            Panel("Loss", ("train_loss", "val_loss"), "nats", floor=0.1, log_scale=True),
            Panel("Absent", ("nothing",), "nats"),
            Panel("Again", ("val_loss",), "nats"),
            Panel("And again", ("train_loss",), "nats"),
        ],
        path,
    ),
    "loss by position": lambda path: plot_loss_by_position(1.0 / np.arange(1, 65), path),
    "samples": lambda path: plot_samples(IMAGES, np.arange(12) % 3, CLASSES, path),
    "neighbours": lambda path: plot_neighbours(
        IMAGES[:3], IMAGES.reshape(3, 4, 8, 8, 3), np.full((3, 4), 1234.5), path
    ),
    "heat maps": lambda path: plot_heatmaps(
        IMAGES[:10], RANDOM.random((10, 4, 4)), ["ant 97 %"] * 10, path
    ),
}


@pytest.mark.parametrize("name", PLOTS)
def test_plots_are_small_and_fit_a_card(tmp_path: Path, name: str) -> None:
    path = PLOTS[name](tmp_path / "deep" / "plot.png")
    assert path.stat().st_size < 400_000
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert 60 < image.width <= 900
        assert np.asarray(image.convert("L")).std() > 5, "the sheet is blank"


def test_no_display_is_needed_and_no_global_state_is_left(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
import matplotlib, numpy
from training.plots.classification import plot_confusion
style = {{key: matplotlib.rcParams[key] for key in ("font.size", "axes.prop_cycle")}}
plot_confusion(numpy.eye(2, dtype=int), ("ant", "bee"), Path({str(tmp_path / "plot.png")!r}))
assert style == {{key: matplotlib.rcParams[key] for key in style}}
assert "matplotlib.pyplot" not in sys.modules
"""
    bare = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    subprocess.run([sys.executable, "-c", script], check=True, env=bare)
    assert (tmp_path / "plot.png").is_file()


def test_plots_are_the_same_every_time(tmp_path: Path) -> None:
    first, second = (PLOTS["curves"](tmp_path / name).read_bytes() for name in ("a.png", "b.png"))
    assert first == second


def test_samples_stand_in_the_row_of_their_class(tmp_path: Path) -> None:
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    images = np.broadcast_to(colours[:, None, None], (3, 8, 8, 3)).astype(np.uint8)
    order = np.array([2, 0, 1])
    path = plot_samples(images[order], order, CLASSES, tmp_path / "sheet.png", cell_px=64)
    with Image.open(path) as image:
        right_edge = np.asarray(image.convert("RGB"))[:, -20]
    rows = [right_edge[height].tolist() for height in (35, 102, 169)]
    assert rows == colours.tolist()


def test_bright_spots_of_a_heat_map_are_bright(tmp_path: Path) -> None:
    heat = np.zeros((1, 4, 4))
    heat[0, 0, 0] = 1.0
    black = np.zeros((1, 8, 8, 3), np.uint8)
    path = plot_heatmaps(black, heat, ["x"], tmp_path / "heat.png", cell_px=64)
    with Image.open(path) as image:
        grey = np.asarray(image.convert("L"))
    overlay = grey[3 + 64 + 3 :][:64, 3:67]
    assert overlay[4, 4] > 90
    assert overlay[60, 60] < 20
