"""What the classifier sees: its heat maps, and whether what they point at matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.contract import MANIFEST_FILE, decode_manifest
from training.card import Figure, Section
from training.classifier import Answers, Classifier
from training.data.sets import ImageSet
from training.kinds.base import Evaluation
from training.markdown import table
from training.measures.deletion import Deletion, Mean, deletion_test
from training.painter import Painter
from training.plots.pictures import plot_heatmaps
from training.plots.robustness import plot_drops
from training.seeds import derive

SHOWN = 40  # test images on the run's own page

NOTES = {
    "covered_share": "share of the image that the deletion test covers",
    "covering_drop": (
        "mean fall of the top class' probability when the hottest area is covered with the "
        "image's mean colour (`hot`), the same shape elsewhere (`moved`), or another image's "
        "hottest area (`borrowed`); `_low` and `_high` are its 95 % interval"
    ),
    "covering_advantage": "mean of `hot` less the control, image by image, with its interval",
}


@dataclass(frozen=True)
class Pictures:
    """Pictures that may be published, with the title of what drew them."""

    images: NDArray[np.uint8]
    title: str


def drawn_pictures(
    version: Path | None, classes: tuple[str, ...], size: int, seed: int
) -> Pictures | None:
    """A picture of each class by the generator in that version's folder; None if there is no such
    folder or it draws other classes or sizes.
    """
    if version is None:
        return None
    manifest = decode_manifest((version / MANIFEST_FILE).read_bytes(), where=str(version))
    if manifest.labels != classes or [spec.name for spec in manifest.outputs] != ["image"]:
        return None
    images = Painter(version / manifest.graph).sample(np.arange(len(classes)), seed)
    if images.shape[1] != size:
        return None
    return Pictures(images, f"{manifest.name} {manifest.version}")


def report_attention(
    classifier: Classifier,
    test: ImageSet,
    answers: Answers,
    classes: Sequence[str],
    pictures: Pictures | None,
    seed: int,
    folder: Path,
) -> Evaluation:
    """The deletion test over `test`, whose answers are known, and heat maps to look at.

    Draws `covering.png`, `heatmaps.png` of `pictures` if there are any, and, for the run's own
    page, `heatmaps_test.png`.
    """
    metrics: dict[str, float] = {}
    figures: list[Figure] = []
    text = "A class activation map (Zhou et al. 2016, arXiv:1512.04150) comes with every answer."
    if answers.heatmap[0].size > 1:
        rng = np.random.default_rng(derive(seed, "deletion"))
        found = deletion_test(
            classifier.probabilities, test.images, answers.probability, answers.heatmap, rng
        )
        metrics, told = _figures(found), _tell(found, len(test.labels))
        figures.append(Figure("covering.png", "Fall of the top class' probability, by what is hid"))
        plot_drops(
            {
                "hottest area": found.hot,
                "same shape elsewhere": found.moved,
                "another image's hottest": found.borrowed,
            },
            folder / figures[0].file,
        )
        text = f"{text}\n\n{told}"
    if pictures is not None:
        figures.append(
            Figure(
                "heatmaps.png",
                f"Pictures drawn by {pictures.title}, and where the answer comes from",
            )
        )
        seen = classifier.see(pictures.images)
        _draw(pictures.images, seen, classes, folder / figures[-1].file, columns=10, cell_px=64)
    every = max(1, len(test.labels) // SHOWN)  # they may be sorted by class
    some = slice(None, every * SHOWN, every)
    shown = Answers(answers.probability[some], answers.heatmap[some])
    private = Figure("heatmaps_test.png", "Test images, and where the answer comes from")
    _draw(test.images[some], shown, classes, folder / private.file, columns=8, cell_px=96)
    section = Section("What it sees", text, tuple(figures))
    return Evaluation(metrics, sections=(section,), private=(private,))


def _draw(
    images: NDArray[np.uint8],
    seen: Answers,
    classes: Sequence[str],
    path: Path,
    *,
    columns: int,
    cell_px: int,
) -> None:
    names = [classes[index] for index in seen.predicted]
    plot_heatmaps(images, seen.heatmap, names, path, columns=columns, cell_px=cell_px)


def _figures(found: Deletion) -> dict[str, float]:
    means = {
        "covering_drop.hot": found.hot,
        "covering_drop.moved": found.moved,
        "covering_drop.borrowed": found.borrowed,
        "covering_advantage.moved": found.advantage,
        "covering_advantage.borrowed": found.advantage_over_borrowed,
    }
    metrics = {"covered_share": found.area}
    for name, mean in means.items():
        metrics |= {name: mean.value, f"{name}_low": mean.low, f"{name}_high": mean.high}
    return metrics


def _tell(found: Deletion, images: int) -> str:
    better = found.advantage.low > 0 and found.advantage_over_borrowed.low > 0
    verdict = (
        "The maps point at what the answer rests on."
        if better
        else "The maps do **not** point at what the answer rests on more than the controls do."
    )
    rows = [
        (what, _interval(mean))
        for what, mean in (
            ("its hottest area", found.hot),
            ("the same shape, moved at random", found.moved),
            ("another image's hottest area", found.borrowed),
            ("advantage over the moved shape", found.advantage),
            ("advantage over the borrowed area", found.advantage_over_borrowed),
        )
    ]
    head = ("Covered", "Mean fall of the top class' probability (95 % interval)")
    return (
        f"{found.area:.0%} of each of {images:,} test images was covered with the image's mean "
        f"colour. {verdict}\n\n{table(head, rows)}"
    )


def _interval(mean: Mean) -> str:
    return f"{mean.value:.3f} ({mean.low:.3f} to {mean.high:.3f})"
