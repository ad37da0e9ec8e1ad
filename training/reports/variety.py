"""Does a generator draw many pictures of a class, or the same one again and again?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.card import Figure, Section
from training.gallery import Gallery
from training.kinds.base import Evaluation
from training.measures.diversity import diversity_by_class
from training.painter import Painter
from training.plots.pictures import plot_samples

STEPS = 10

NOTES = {
    "diversity_ratio": (
        "mean pairwise distance of a class's samples in the judge's features, over that of real "
        "test images; mean over classes"
    ),
    "worst_diversity_ratio": "the same of the class with the least",
}


def report_variety(gallery: Gallery, painter: Painter, seed: int, folder: Path) -> Evaluation:
    """Spread within each class, and the way from one sample to another."""
    names, classes = gallery.data.classes, gallery.classes
    drawn = diversity_by_class(gallery.drawn.features, gallery.asked, classes=classes)
    real = diversity_by_class(gallery.test.features, gallery.data.test.labels, classes=classes)
    ratio = drawn / real
    metrics = {
        "diversity_ratio": float(ratio.mean()),
        "worst_diversity_ratio": float(ratio.min()),
    }
    metrics |= {
        f"diversity_ratio.{name}": float(value) for name, value in zip(names, ratio, strict=True)
    }
    plot_samples(gallery.images, gallery.asked, names, folder / "samples.png", cell_px=64)
    every = np.arange(classes)
    way = painter.interpolate(every, STEPS, seed)
    plot_samples(
        way.reshape(-1, *way.shape[2:]),
        np.repeat(every, STEPS),
        names,
        folder / "interpolation.png",
        per_class=STEPS,
        cell_px=way.shape[2],
    )
    text = (
        "Mean distance between two samples of a class, in the judge's features, over that between "
        f"two real test images of it: {metrics['diversity_ratio']:.3f} on average, least for "
        f"{names[int(ratio.argmin())]} ({ratio.min():.3f}). A generator that repeats itself comes "
        "near 0; one that often draws another class than asked for is flattered."
    )
    figure = Figure(
        "interpolation.png", "From one noise to another, class by class: no jumps, no repeats"
    )
    sheet = Figure("samples.png", "Samples, a row for each class: the first drawn, not chosen")
    return Evaluation(metrics, (sheet,), sections=(Section("Variety", text, (figure,)),))
