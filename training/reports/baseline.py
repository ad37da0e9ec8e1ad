"""Another generator's figures, by the same judge, from as many samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.contract import MANIFEST_FILE, decode_manifest
from training.card import Section
from training.data.sets import ImageData
from training.judge import Judge
from training.kinds.base import Evaluation
from training.measures.diversity import diversity_by_class
from training.measures.frechet import frechet_distance
from training.measures.proportion import Proportion
from training.painter import Painter

NOTES = {
    "baseline_class_agreement": "class agreement of the baseline's samples",
    "baseline_frechet_classifier_features": "Fréchet distance of the baseline's samples",
    "baseline_diversity_ratio": "diversity of the baseline's samples",
}


def report_baseline(
    baseline: Path, data: ImageData, judge: Judge, asked_N: NDArray[np.int64], seed: int
) -> Evaluation | None:
    """The generator in the version folder `baseline`; None if it draws other classes than the
    data's.
    """
    path = baseline / MANIFEST_FILE
    manifest = decode_manifest(path.read_bytes(), where=str(path))
    if manifest.labels != data.classes or "noise" not in {spec.name for spec in manifest.inputs}:
        return None
    seen = judge.see(Painter(baseline / manifest.graph).sample(asked_N, seed))
    real = judge.see(data.test.images)
    right = seen.judged == judge.positions(data.classes)[asked_N]
    share = Proportion(successes=int(right.sum()), trials=len(right))
    classes = len(data.classes)
    spread = diversity_by_class(seen.features, asked_N, classes=classes)
    real_spread = diversity_by_class(real.features, data.test.labels, classes=classes)
    metrics = {
        "baseline_class_agreement": share.value,
        "baseline_frechet_classifier_features": frechet_distance(seen.features, real.features),
        "baseline_diversity_ratio": float((spread / real_spread).mean()),
    }
    title = f"{manifest.name} {manifest.version}"
    text = (
        f"{title} (preset {manifest.training.preset}, {manifest.training.parameters:,} "
        f"parameters, {manifest.training.config['fit']['epochs']} epochs in "
        f"{manifest.training.duration_s / 60:.0f} minutes), judged alike: "
        f"class agreement {share}, Fréchet distance "
        f"{metrics['baseline_frechet_classifier_features']:.3f}, diversity ratio "
        f"{metrics['baseline_diversity_ratio']:.3f}."
    )
    return Evaluation(metrics, sections=(Section("The baseline beside it", text),))
