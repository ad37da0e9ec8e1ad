"""GAN: classes in, pictures out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from service.contract import DataRecord, TensorSpec
from training.config import FitConfig, OptimizerConfig, ScheduleConfig
from training.data.describe import Description, describe_images
from training.data.images import load_images
from training.data.sets import ImageData
from training.gallery import appoint, ask, hang
from training.gate import Rule
from training.gauge import Gauge
from training.judge import Judge
from training.kinds.base import About, Arrays, Evaluation, Export, Kind
from training.networks.dcgan import fold_transposed_norms
from training.networks.projgan import fold_conditional_norms
from training.networks.served import ServedGenerator
from training.painter import Painter
from training.plots.curves import Panel
from training.reports import agreement, copying, likeness, variety
from training.reports.baseline import NOTES as BASELINE_NOTES
from training.reports.baseline import report_baseline
from training.search.space import Choice, Real
from training.tasks.adversarial import GanConfig, GanTask, GuideConfig, NetworkConfig
from training.tasks.base import Task

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
    # Noise to 32x32 in 37 million multiplications: 0.8 ms a picture on one core.
    network=NetworkConfig(architecture="guided", generator_widths=(256, 128, 64)),
    # Five epochs take the guide to where it knows most real images. Its word weighs as much as
    # the critic's: less leaves pictures of no class, more leaves one picture a class.
    guide=GuideConfig(epochs=5, weight=0.5),
    # The hinge loss and two time scales: the critic learns twice as fast as the generator.
    loss="hinge",
    optimizer=OptimizerConfig(name="adam", lr=2e-4, beta1=0.0, beta2=0.9),
    critic_optimizer=OptimizerConfig(name="adam", lr=4e-4, beta1=0.0, beta2=0.9),
    # A dozen epochs of 50,000 are few enough that the critic cannot learn images by heart, so it
    # needs no augmentation but the mirror and the guide's shift; small batches buy more turns.
    flip=True,
    fit=FitConfig(epochs=15, batch_size=32, ema_decay=0.999),
    # The last tenth of the steps settles what the two players have been circling.
    schedule=ScheduleConfig(name="linear", warmup=0.01, final=0.1),
)

# Seconds on a few dozen images, for tests.
TINY = GanConfig(
    network=NetworkConfig(
        noise=8,
        generator_widths=(16, 16, 16),
        critic_widths=(16, 16, 16),
        guide_widths=(16, 16, 16),
    ),
    guide=GuideConfig(epochs=1, weight=0.1),
    flip=True,
    augment_translate_px=2,
    augment_cutout_px=4,
    augment_colour=0.5,
    fit=FitConfig(epochs=2, batch_size=8, ema_decay=0.9, precision="float32"),
    samples_per_class=8,
)


SPACE = (
    Real("optimizer.lr", 5e-5, 1e-3, log=True),
    Real("critic_optimizer.lr", 5e-5, 2e-3, log=True),
    Choice("optimizer.beta1", ("0.0", "0.5")),
    Real("fit.ema_decay", 0.9, 0.9995),
    Choice("fit.batch_size", ("32", "64", "128")),
)


class Gan(Kind[GanConfig, ImageData]):
    """Noise and a class in, a picture out."""

    name = "gan"
    default_model = "cifar10-gan"
    partner = "cifar10"
    space = SPACE
    searched_by = ("sample_frechet", "min")
    baseline = "cifar10-dcgan"
    presets: ClassVar[Mapping[str, GanConfig]] = {
        "dcgan": DCGAN,
        "standard": STANDARD,
        "tiny": TINY,
    }
    rules = (
        # Below 0.6 a picture's class is a guess; 0.02 is what 5,000 samples leave to chance.
        Rule("class_agreement", "max", floor=0.60, tolerance=0.02),
    )
    reproduced_within = MappingProxyType(
        {
            # A grey level rounded otherwise moves a sample a little, and a few across a border.
            "*nearest_ratio": 0.02,
            "*class_agreement*": 0.004,
            "sample_*": 0.005,
        }
    )
    panels = (
        Panel("Losses", ("critic_loss", "generator_loss"), "loss"),
        Panel("Critic's scores", ("critic_real", "critic_fake"), "score"),
        Panel(
            "Class seen by guide or critic",
            ("guide_accuracy", "critic_class_real", "critic_class_fake"),
            "share right",
        ),
        Panel("Samples, seen by the judge", ("sample_agreement",), "class agreement"),
        Panel(
            "Samples beside training images",
            ("sample_frechet",),
            "Fréchet distance, features",
            log_scale=True,
        ),
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
            **agreement.NOTES,
            **likeness.NOTES,
            **variety.NOTES,
            **copying.NOTES,
            **BASELINE_NOTES,
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

    def attend(self, task: Task, config: GanConfig, data: ImageData, partner: Path) -> None:
        """Let a judge that knows the data's classes look at samples in every validation."""
        assert isinstance(task, GanTask)
        judge = Judge(partner)
        if judge.suits(data):
            task.gauge = Gauge(judge, data, config.fit.seed)

    def evaluate(
        self,
        config: GanConfig,
        data: ImageData,
        graph: Path,
        folder: Path,
        judge: Path | None,
    ) -> Evaluation:
        """Let the judge look at samples of every class, and at real images for comparison."""
        painter, seed = Painter(graph), config.fit.seed
        gallery = hang(painter, data, appoint(judge), per_class=config.samples_per_class, seed=seed)
        return Evaluation.join(
            (
                agreement.report_agreement(gallery, folder),
                likeness.report_likeness(gallery, seed),
                variety.report_variety(gallery, painter, seed, folder),
                copying.report_copying(gallery, folder),
            )
        )

    def compare(
        self, config: GanConfig, data: ImageData, baseline: Path, judge: Path | None
    ) -> Evaluation | None:
        """Another generator of the same classes, before the same judge."""
        asked_N = ask(data, config.samples_per_class)
        return report_baseline(baseline, data, appoint(judge), asked_N, config.fit.seed)

    def score(
        self, config: GanConfig, data: ImageData, graph: Path, judge: Path | None = None
    ) -> dict[str, float]:
        """Class agreement."""
        judged_by, asked_N = appoint(judge), ask(data, config.samples_per_class)
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


KIND = Gan()
