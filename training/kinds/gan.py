"""GAN: classes in, pictures out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from service.contract import DataRecord, TensorSpec
from training.card import Figure
from training.config import FitConfig, OptimizerConfig, ScheduleConfig
from training.data.describe import Description, describe_images
from training.data.images import load_images
from training.data.sets import ImageData
from training.errors import DataError
from training.gate import Rule
from training.judge import Judge
from training.kinds.base import About, Arrays, Evaluation, Export, Kind
from training.measures.agreement import agreement
from training.measures.diversity import diversity_by_class
from training.measures.frechet import frechet_distance, frechet_floor
from training.measures.neighbours import nearest
from training.networks.dcgan import fold_transposed_norms
from training.networks.projgan import fold_conditional_norms
from training.networks.served import ServedGenerator
from training.painter import Painter
from training.plots.classification import plot_class_shares, plot_confusion
from training.plots.curves import Panel
from training.plots.pictures import plot_neighbours, plot_samples
from training.seeds import derive
from training.tasks.adversarial import GanConfig, GanTask, NetworkConfig

NEIGHBOUR_SAMPLES = 500

# DCGAN's own settings (Radford et al. 2016), with the class given to both players.
DCGAN = GanConfig(
    network=NetworkConfig(
        architecture="dcgan",
        noise=100,
        generator_widths=(256, 128, 64),
        critic_widths=(64, 128, 256),
    ),
    loss="cross_entropy",
    fit=FitConfig(epochs=20, batch_size=128),
    optimizer=OptimizerConfig(name="adam", lr=2e-4, beta1=0.5),
    critic_optimizer=OptimizerConfig(name="adam", lr=2e-4, beta1=0.5),
    schedule=ScheduleConfig(name="constant", warmup=0.0),
)

STANDARD = GanConfig(
    # Both players together pass 150 to 250 images a second through one core.
    network=NetworkConfig(),
    # The hinge loss and two time scales: the critic learns twice as fast as the generator.
    loss="hinge",
    optimizer=OptimizerConfig(name="adam", lr=2e-4, beta1=0.0, beta2=0.9),
    critic_optimizer=OptimizerConfig(name="adam", lr=4e-4, beta1=0.0, beta2=0.9),
    # Class agreement is what the gate asks for; more than this costs variety within a class.
    class_weight=0.5,
    # 12 epochs of 50,000 are few enough that the critic cannot learn images by heart, so it needs
    # no augmentation beyond the mirror; small batches buy the players more turns.
    flip=True,
    fit=FitConfig(epochs=12, batch_size=32, ema_decay=0.999),
    # The last tenth of the steps settles what the two players have been circling.
    schedule=ScheduleConfig(name="linear", warmup=0.01, final=0.1),
)

# Seconds on a few dozen images, for tests.
TINY = GanConfig(
    network=NetworkConfig(noise=8, generator_widths=(16, 16, 16), critic_widths=(16, 16, 16)),
    class_weight=0.1,
    flip=True,
    augment_translate_px=2,
    augment_cutout_px=4,
    augment_colour=0.5,
    fit=FitConfig(epochs=2, batch_size=8, ema_decay=0.9, precision="float32"),
    samples_per_class=8,
)


class Gan(Kind[GanConfig, ImageData]):
    """Noise and a class in, a picture out."""

    name = "gan"
    default_model = "cifar10-gan"
    partner = "cifar10"
    presets: ClassVar[Mapping[str, GanConfig]] = {
        "dcgan": DCGAN,
        "standard": STANDARD,
        "tiny": TINY,
    }
    rules = (
        # Below 0.6 a picture's class is a guess; 0.02 is what 5,000 samples leave to chance.
        Rule("class_agreement", "max", floor=0.60, tolerance=0.02),
    )
    panels = (
        Panel("Losses", ("critic_loss", "generator_loss"), "loss"),
        Panel("Critic's scores", ("critic_real", "critic_fake"), "score"),
        Panel("Critic's class head", ("critic_class_real", "critic_class_fake"), "share right"),
    )
    about = About(
        description="Draws small colour pictures of the class asked for.",
        intended_use="Sample pictures, synthetic load and test images; a small GAN to learn from.",
        limits=(
            "Pictures are small and many are only roughly of their class.",
            "It draws nothing but its classes; a prompt only names one of them.",
            "Agreement is measured by a classifier with errors of its own.",
        ),
        metric_notes={
            "class_agreement": "share of samples that the judge classifier sees as the class asked",
            "class_agreement_low": "lower end of its 95 % Wilson interval",
            "class_agreement_high": "upper end of its 95 % Wilson interval",
            "worst_class_agreement": "agreement of the class that does worst",
            "judge_accuracy": "the judge's own accuracy on real test images",
            "frechet_classifier_features": (
                "Fréchet distance to real test images in the judge's features; not the Inception "
                "FID, and not comparable with one"
            ),
            "frechet_classifier_features_floor": "the same between two halves of the test images",
            "diversity_ratio": "spread of a class's samples over that of real images, in features",
            "neighbour_distance_ratio": (
                "median distance from samples to their nearest training image, over that of real "
                "test images, in features; far below 1 is copying"
            ),
        },
    )

    def load_data(self, source: str | None, cache_dir: Path) -> ImageData:
        """CIFAR-10, or any images in a folder for each class."""
        return load_images(source, cache_dir=cache_dir)

    def record(self, data: ImageData) -> DataRecord:
        """Name, source, checksum, licence and counts."""
        return DataRecord(
            name=data.name,
            source=data.source,
            sha256=data.sha256,
            license=data.license,
            examples={"train": len(data.train.labels), "test": len(data.test.labels)},
        )

    def describe(self, data: ImageData, out_dir: Path) -> Description:
        """Counts, channels, sizes, examples."""
        return describe_images(data, out_dir)

    def task(self, config: GanConfig, data: ImageData, device: torch.device) -> GanTask:
        """Ready to be fitted."""
        return GanTask(config, data, device)

    def evaluate(
        self,
        config: GanConfig,
        data: ImageData,
        graph: Path,
        folder: Path,
        judge: Path | None,
    ) -> Evaluation:
        """Let the judge look at samples of every class, and at real images for comparison."""
        judged_by, classes = _appoint(judge), len(data.classes)
        positions = judged_by.positions(data.classes)
        asked_N = np.repeat(np.arange(classes), config.samples_per_class)
        images = Painter(graph).sample(asked_N, config.fit.seed)
        drawn, real = judged_by.see(images), judged_by.see(data.test.images)
        training = judged_by.see(data.train.images)
        found = agreement(drawn.judged, positions[asked_N], classes=len(judged_by.labels))
        by_class = found.per_class[positions]
        spread = diversity_by_class(drawn.features, asked_N, classes=classes)
        real_spread = diversity_by_class(real.features, data.test.labels, classes=classes)
        probe = np.random.default_rng(derive(config.fit.seed, "neighbours"))
        some = np.sort(probe.permutation(len(images))[:NEIGHBOUR_SAMPLES])
        near = nearest(drawn.features[some], training.features, k=5)
        near_real = nearest(
            real.features[:: len(real.features) // len(some) or 1], training.features
        )
        metrics = {
            "class_agreement": found.overall.value,
            "class_agreement_low": found.overall.low,
            "class_agreement_high": found.overall.high,
            "worst_class_agreement": float(by_class.min()),
            "judge_accuracy": float((real.judged == positions[data.test.labels]).mean()),
            "frechet_classifier_features": frechet_distance(drawn.features, real.features),
            "frechet_classifier_features_floor": frechet_floor(real.features),
            "diversity_ratio": float(np.mean(spread / real_spread)),
            "neighbour_distance_ratio": float(
                np.median(near.distance[:, 0]) / np.median(near_real.distance[:, 0])
            ),
        }
        metrics |= {
            f"class_agreement.{name}": float(share)
            for name, share in zip(data.classes, by_class, strict=True)
        }
        plot_samples(images, asked_N, data.classes, folder / "samples.png", cell_px=48)
        plot_confusion(
            found.confusion,
            judged_by.labels,
            folder / "agreement.png",
            title="What the judge saw",
            row_label="Class asked for",
            column_label="Class seen by the judge",
        )
        plot_class_shares(
            by_class,
            data.classes,
            folder / "classes.png",
            title="Agreement by class",
            value_label="Share seen as the class asked for",
            overall=found.overall.value,
        )
        # For the run's own folder alone: it shows training images.
        plot_neighbours(
            images[some[:10]],
            data.train.images[near.index[:10]],
            near.distance[:10],
            folder / "neighbours.png",
        )
        return Evaluation(
            metrics,
            figures=(
                Figure("samples.png", "Samples, a row for each class, not chosen"),
                Figure("classes.png", f"Agreement by class, judged by {judged_by.title}"),
                Figure("agreement.png", "Classes asked for against classes seen by the judge"),
            ),
        )

    def score(
        self, config: GanConfig, data: ImageData, graph: Path, judge: Path | None = None
    ) -> dict[str, float]:
        """Class agreement."""
        judged_by = _appoint(judge)
        asked_N = np.repeat(np.arange(len(data.classes)), config.samples_per_class)
        drawn = judged_by.see(Painter(graph).sample(asked_N, config.fit.seed))
        right_N = drawn.judged == judged_by.positions(data.classes)[asked_N]
        return {"class_agreement": float(right_N.mean())}

    def export(self, config: GanConfig, data: ImageData, network: nn.Module) -> Export:
        """The averaged generator, its class tables folded, rounding to grey levels in the graph."""
        classes, noise = len(data.classes), config.network.noise
        module = ServedGenerator(fold_transposed_norms(fold_conditional_norms(network))).eval()

        def draw_inputs(rows: int, rng: np.random.Generator) -> Arrays:
            return {
                "noise": rng.standard_normal((rows, noise), dtype=np.float32),
                "label": rng.integers(0, classes, rows),
            }

        with torch.no_grad():
            image_NHWC = module(torch.zeros((1, noise)), torch.zeros(1, dtype=torch.int64))
        return Export(
            module=module,
            inputs=(
                TensorSpec(
                    name="noise",
                    dtype="float32",
                    shape=("N", noise),
                    description="independent standard normal numbers",
                ),
                TensorSpec(
                    name="label",
                    dtype="int64",
                    shape=("N",),
                    minimum=0,
                    maximum=classes - 1,
                    description="the class to draw",
                ),
            ),
            outputs=(
                TensorSpec(
                    name="image",
                    dtype="uint8",
                    shape=("N", *image_NHWC.shape[1:]),
                    minimum=0,
                    maximum=255,
                    description="RGB",
                ),
            ),
            tolerance={"image": 2},
            draw_inputs=draw_inputs,
            labels=data.classes,
        )


def _appoint(judge: Path | None) -> Judge:
    if judge is None:
        raise DataError(
            "a published classifier must judge the samples; train one first "
            "(run --kind cnn), or name its version folder with --judge",
            field="judge",
        )
    return Judge(judge)


KIND = Gan()
