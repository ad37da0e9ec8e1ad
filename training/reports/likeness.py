"""How like real images a generator's samples are, as a set."""

from __future__ import annotations

import numpy as np

from training.card import Section
from training.gallery import Gallery
from training.kinds.base import Evaluation
from training.markdown import table
from training.measures.frechet import frechet_distance, frechet_floor
from training.measures.manifold import K_DENSITY, compare_manifolds
from training.seeds import derive

_FRECHET = "frechet_classifier_features"

NOTES = {
    _FRECHET: (
        "Fréchet distance to real test images in the judge's features; not the Inception FID, and "
        "not comparable with one"
    ),
    f"{_FRECHET}_floor": "the same between two random halves of the test images",
    f"{_FRECHET}_train": "the same of as many training images: what perfect copies would reach",
    "sample_precision": "share of samples within the real test images' neighbourhoods (features)",
    "sample_recall": "share of real test images within the samples' neighbourhoods (features)",
    "sample_density": (
        f"mean number of real neighbourhoods that a sample lies in, over {K_DENSITY}"
    ),
    "sample_coverage": "share of real test images with a sample in their neighbourhood",
}


def report_likeness(gallery: Gallery, seed: int) -> Evaluation:
    """Distances between sets of the judge's features."""
    drawn, real = gallery.drawn.features, gallery.test.features
    found = compare_manifolds(drawn, real)
    some = np.random.default_rng(derive(seed, "likeness")).permutation(len(gallery.train.features))
    metrics = {
        _FRECHET: frechet_distance(drawn, real),
        f"{_FRECHET}_floor": frechet_floor(real),
        f"{_FRECHET}_train": frechet_distance(gallery.train.features[some[: len(drawn)]], real),
        "sample_precision": found.precision,
        "sample_recall": found.recall,
        "sample_density": found.density,
        "sample_coverage": found.coverage,
    }
    rows = [
        ("Samples", f"{metrics[_FRECHET]:.3f}"),
        ("Real against real: halves of the test images", f"{metrics[f'{_FRECHET}_floor']:.3f}"),
        ("As many training images", f"{metrics[f'{_FRECHET}_train']:.3f}"),
    ]
    text = (
        f"Fréchet distance to the {len(real):,} real test images, in the features of "
        f"{gallery.judge.title}; the figure is no Inception FID.\n\n"
        f"{table(('Of', 'Fréchet distance'), rows)}\n\n"
        f"Precision {found.precision:.1%}, recall {found.recall:.1%}, density {found.density:.3f} "
        f"and coverage {found.coverage:.1%} of the samples against the test images, in the same "
        "features."
    )
    return Evaluation(metrics, sections=(Section("Likeness to real images", text),))
