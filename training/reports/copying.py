"""Does a generator draw, or copy its training images?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.card import Figure, Section
from training.gallery import Gallery
from training.kinds.base import Evaluation
from training.markdown import table
from training.measures.copying import NEAR_QUANTILE, compare_nearness
from training.measures.neighbours import Neighbours, nearest
from training.plots.neighbours import plot_nearness
from training.plots.pictures import plot_neighbours

NEIGHBOURS = 5
SHOWN = 10
PIXEL_IMAGES = 2000
"""Whose neighbours are looked for in pixels: most of them of each set, evenly spaced. Half a minute
of one core; features are cheaper, and all are compared."""

NOTES = {
    f"{space}_{figure}": f"{meaning}, in {name}"
    for space, name in (("pixel", "pixels, mirror images included"), ("feature", "features"))
    for figure, meaning in (
        (
            "near_share",
            f"share of samples nearer to a training image than the nearest {NEAR_QUANTILE:.0%} of "
            f"test images: {NEAR_QUANTILE:.0%} by chance",
        ),
        ("nearest_ratio", "least distance of a sample to a training image over a test image's"),
        ("distance_ratio", "median of these distances over that of test images; below 1 is nearer"),
    )
}


@dataclass(frozen=True)
class _Space:
    """Nearest training images of samples and of test images."""

    label: str
    rows: NDArray[np.int64]
    """[Q], which samples were compared."""
    samples: Neighbours
    """Of these samples, [Q, NEIGHBOURS]."""
    unseen: Neighbours


def report_copying(gallery: Gallery, folder: Path) -> Evaluation:
    """Distances of samples to their nearest training image, beside those of test images.

    The sheets of neighbours show training images: they are private.
    """
    train, test = gallery.data.train.images, gallery.data.test.images
    every, some = np.arange(len(gallery.images)), _spaced(len(gallery.images))
    spaces = {
        "pixel": _Space(
            "Euclidean distance, grey levels",
            some,
            _nearest_or_mirrored(gallery.images[some], train),
            _nearest_or_mirrored(test[_spaced(len(test))], train),
        ),
        "feature": _Space(
            "Euclidean distance, features",
            every,
            nearest(gallery.drawn.features, gallery.train.features, k=NEIGHBOURS),
            nearest(gallery.test.features, gallery.train.features, k=NEIGHBOURS),
        ),
    }
    metrics: dict[str, float] = {}
    rows = []
    for key, space in spaces.items():
        found = compare_nearness(space.samples.distance[:, 0], space.unseen.distance[:, 0])
        metrics |= {
            f"{key}_near_share": found.near.value,
            f"{key}_nearest_ratio": found.nearest_ratio,
            f"{key}_distance_ratio": found.median_ratio,
        }
        rows.append(
            (f"{key}s", f"{found.near}", f"{found.nearest_ratio:.3f}", f"{found.median_ratio:.3f}")
        )
    plot_nearness(
        {s.label: (s.samples.distance[:, 0], s.unseen.distance[:, 0]) for s in spaces.values()},
        folder / "nearness.png",
        quantile=NEAR_QUANTILE,
    )
    nearer = f"Nearer than the nearest {NEAR_QUANTILE:.0%} of test images"
    head = ("In", nearer, "Least distance over theirs", "Median over theirs")
    text = (
        f"Samples ({len(some):,} in pixels, {len(every):,} in features) beside their nearest of "
        f"{len(train):,} training images; as many test images, which the generator has not seen, "
        "give the measure. Copies would lie nearer.\n\n"
        f"{table(head, rows)}"
    )
    figure = Figure("nearness.png", "Distances to the nearest training image")
    return Evaluation(
        metrics,
        sections=(Section("Copying", text, (figure,)),),
        private=_draw_sheets(gallery, spaces, folder),
    )


def _spaced(count: int) -> NDArray[np.int64]:
    return np.linspace(0, count - 1, min(count, PIXEL_IMAGES)).astype(np.int64)


def _nearest_or_mirrored(query: NDArray[np.uint8], reference: NDArray[np.uint8]) -> Neighbours:
    """Of each image or its mirror image, whichever comes nearer: training saw both."""
    plain = nearest(query, reference, k=NEIGHBOURS)
    mirrored = nearest(np.ascontiguousarray(query[:, :, ::-1]), reference, k=NEIGHBOURS)
    nearer_N1 = (mirrored.distance[:, 0] < plain.distance[:, 0])[:, None]
    return Neighbours(
        index=np.where(nearer_N1, mirrored.index, plain.index),
        distance=np.where(nearer_N1, mirrored.distance, plain.distance),
    )


def _draw_sheets(
    gallery: Gallery, spaces: Mapping[str, _Space], folder: Path
) -> tuple[Figure, ...]:
    figures = []
    for key, space in spaces.items():
        label_Q = gallery.asked[space.rows]
        first_of_class = np.searchsorted(label_Q, np.unique(label_Q))
        suspects = np.argsort(space.samples.distance[:, 0], kind="stable")[:SHOWN]
        for which, shown, caption in (
            ("first", first_of_class, "The first sample of each class"),
            ("suspect", suspects, "The samples that come nearest to a training image"),
        ):
            file = f"neighbours-{key}-{which}.png"
            plot_neighbours(
                gallery.images[space.rows[shown]],
                gallery.data.train.images[space.samples.index[shown]],
                space.samples.distance[shown],
                folder / file,
                names=[gallery.data.classes[label] for label in label_Q[shown]],
            )
            figures.append(Figure(file, f"{caption}, with its nearest in {key}s"))
    return tuple(figures)
