"""How accuracy falls under attack, and under what happens to photographs by itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.contract import GRAPH_FILE
from training.attacks import STEPS, Attacker
from training.card import Figure, Section
from training.classifier import Classifier
from training.data.sets import ImageSet
from training.kinds.base import Evaluation
from training.markdown import table
from training.measures.classification import accuracy
from training.measures.corruption import CORRUPTIONS, corrupt
from training.measures.proportion import Proportion
from training.plots.robustness import plot_robustness
from training.reports.cells import share_cells
from training.seeds import derive

ATTACKED_IMAGES = 500  # a gradient costs three runs, and an image needs thirty-three gradients
LEVELS = (1, 2, 8)
STRENGTHS = (1, 2, 3)

NOTES = {
    "attacked_accuracy": (
        f"accuracy on {ATTACKED_IMAGES} test images, as many of each class, each changed by an "
        "attack of at most n of 255 grey levels (`fgsm_n`, `pgd_n`), or unchanged (`none`)"
    ),
    "corrupted_accuracy": "accuracy on all test images under a corruption, at strengths 1 to 3",
    "mean_corrupted_accuracy": "mean of the accuracies under every corruption and strength",
}


def report_robustness(
    classifier: Classifier, test: ImageSet, unchanged: Proportion, seed: int, folder: Path
) -> Evaluation:
    """Attack some of the test images, corrupt all of them; draws `robustness.png`.

    Gradients come from the float32 graph beside the served one; the served graph judges.
    `unchanged` is its accuracy on the test images as they are.
    """
    attacked = _attacked(classifier, test, seed)
    corrupted = _corrupted(classifier, test, seed)
    metrics = {f"attacked_accuracy.{name}": found.value for name, found in attacked.items()}
    metrics |= {
        f"corrupted_accuracy.{name}_{strength}": found.value
        for (name, strength), found in corrupted.items()
    }
    metrics["mean_corrupted_accuracy"] = float(np.mean([f.value for f in corrupted.values()]))
    figure = Figure("robustness.png", "Accuracy under attack, and under common corruptions")
    plot_robustness(
        {
            title: {0: attacked["none"].value}
            | {levels: attacked[f"{key}_{levels}"].value for levels in LEVELS}
            for title, key in (("FGSM", "fgsm"), (f"PGD, {STEPS} steps", "pgd"))
        },
        {
            name: {0: unchanged.value} | {s: corrupted[name, s].value for s in STRENGTHS}
            for name in CORRUPTIONS
        },
        folder / figure.file,
    )
    text = "\n\n".join([_tell_attacks(attacked), _tell_corruptions(corrupted)])
    return Evaluation(metrics, sections=(Section("Robustness", text, (figure,)),))


def balanced(label_N: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Rows [M], M at most `count`, drawn at random with as many of each class as of any other."""
    classes, size_C = np.unique(label_N, return_counts=True)
    each = min(count // len(classes), int(size_C.min()))
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(label_N == label))[:each] for label in classes]
    return np.sort(np.concatenate(drawn))


def _attacked(classifier: Classifier, test: ImageSet, seed: int) -> dict[str, Proportion]:
    some = balanced(test.labels, ATTACKED_IMAGES, derive(seed, "attacked images"))
    images, labels = test.images[some], test.labels[some]
    beside = classifier.graph.with_name(GRAPH_FILE)
    attacker = Attacker(beside if beside.exists() else classifier.graph, images)

    def judged(changed: NDArray[np.uint8]) -> Proportion:
        return accuracy(classifier.probabilities(changed).argmax(axis=1), labels)

    found = {"none": judged(images)}
    for levels in LEVELS:
        found[f"fgsm_{levels}"] = judged(attacker.fgsm(images, labels, levels))
        start = derive(seed, "attack", levels)
        found[f"pgd_{levels}"] = judged(attacker.pgd(images, labels, levels, start))
    return found


def _corrupted(
    classifier: Classifier, test: ImageSet, seed: int
) -> dict[tuple[str, int], Proportion]:
    found = {}
    for name in CORRUPTIONS:
        for strength in STRENGTHS:
            rng = np.random.default_rng(derive(seed, "corruption", name, strength))
            images = corrupt(name, test.images, strength, rng)
            predicted_N = classifier.probabilities(images).argmax(axis=1)
            found[name, strength] = accuracy(predicted_N, test.labels)
    return found


def _tell_attacks(attacked: Mapping[str, Proportion]) -> str:
    count = attacked["none"].trials
    text = (
        f"{count:,} test images, as many of each class, were changed by the Adversarial Robustness "
        "Toolbox by at most n of 255 grey levels in every channel, with gradients of the float32 "
        "graph rebuilt from its file, rounded to grey levels, and judged by the served graph. "
        f"FGSM takes one step, PGD {STEPS} from a random start."
    )
    rows = [(f"`{name}`", *share_cells(found)) for name, found in attacked.items()]
    return f"{text}\n\n{table(('Attack', 'Accuracy', '95 % interval', 'Images'), rows)}"


def _tell_corruptions(corrupted: Mapping[tuple[str, int], Proportion]) -> str:
    images = next(iter(corrupted.values())).trials
    text = (
        f"All {images:,} test images under corruptions after Hendrycks and Dietterich (2019), at "
        "their severities 1, 3 and 5."
    )
    rows = [
        (name, *(f"{corrupted[name, strength].value:.1%}" for strength in STRENGTHS))
        for name in CORRUPTIONS
    ]
    return f"{text}\n\n{table(('Corruption', 'Mild', 'Medium', 'Strong'), rows)}"
