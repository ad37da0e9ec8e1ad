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
from training.configs.gan import GanConfig
from training.data.addition import join_images, read_new_images
from training.data.describe import Description, describe_images
from training.data.images import load_images
from training.data.sets import ImageData
from training.drift.check import Check, check_images
from training.drift.profile import profile_classes
from training.gallery import appoint, ask, hang
from training.gate import Rule
from training.gauge import Gauge
from training.judge import Judge
from training.kinds.base import About, Arrays, Evaluation, Export, Kind
from training.measures.drift import Limits, Profile
from training.networks.dcgan import fold_transposed_norms
from training.networks.projgan import fold_conditional_norms
from training.networks.served import ServedGenerator
from training.painter import Painter
from training.plots.curves import Panel
from training.presets.gan import PRESETS, SPACE
from training.reports import agreement, copying, likeness, variety
from training.reports.baseline import NOTES as BASELINE_NOTES
from training.reports.baseline import report_baseline
from training.tasks.adversarial import GanTask
from training.tasks.base import Task


class Gan(Kind[GanConfig, ImageData]):
    """Noise and a class in, a picture out."""

    name = "gan"
    default_model = "cifar10-gan"
    partner = "cifar10"
    space = SPACE
    searched_by = ("sample_frechet", "min")
    baseline = "cifar10-dcgan"
    presets: ClassVar[Mapping[str, GanConfig]] = PRESETS
    rules = (
        # Below 0.6 a picture's class is a guess; 0.02 is what 5,000 samples leave to chance.
        Rule("class_agreement", "max", floor=0.60, tolerance=0.02),
    )
    fed = ("label",)
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
            ("guide_accuracy", "guide_class_fake", "critic_class_real", "critic_class_fake"),
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
            parts=data.parts,
        )

    def describe(self, data: ImageData, out_dir: Path) -> Description:
        """Counts, channels, sizes, examples."""
        return describe_images(data, out_dir)

    def profile(self, data: ImageData) -> Profile:
        """Classes; the pictures are drawn here, and tell nothing of who asks."""
        return profile_classes(data.train.labels, data.classes)

    def check_new(
        self, data: ImageData, folder: Path, limits: Limits
    ) -> tuple[Check, Profile, Profile]:
        """Classes, their balance, features of the images."""
        size = data.train.images.shape[1]
        return check_images(read_new_images(folder, size=size), data, limits)

    def join(self, data: ImageData, folder: Path) -> tuple[ImageData, int]:
        """Images of test images' pixels are left out."""
        return join_images(data, read_new_images(folder, size=data.train.images.shape[1]))

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

    def examples(
        self, config: GanConfig, data: ImageData, graph: Path, judge: Path | None = None
    ) -> Arrays:
        """Whether the judge sees each sample as the class asked for.

        Two generators are asked for the same classes in the same order, and draw from the same
        noise where it is as wide: what is hard about a class falls out of the comparison.
        """
        judged_by, asked_N = appoint(judge), ask(data, config.samples_per_class)
        drawn = judged_by.see(Painter(graph).sample(asked_N, config.fit.seed))
        return {"class_agreement": drawn.judged == judged_by.positions(data.classes)[asked_N]}

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
