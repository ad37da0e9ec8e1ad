"""Image classification with a convolutional network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from service.contract import DataRecord, Manifest, TensorSpec
from training.classifier import TEMPERATURE, Classifier
from training.configs.cnn import CnnConfig
from training.data.addition import join_images, read_new_images
from training.data.describe import Description, describe_images
from training.data.images import load_images
from training.data.sets import ImageData
from training.drift.check import Check, check_images
from training.drift.profile import profile_images
from training.errors import ConfigError
from training.gate import Rule
from training.kinds.base import About, Arrays, Evaluation, Export, Kind
from training.measures import classification
from training.measures.drift import Limits, Profile
from training.measures.temperature import fit_temperature
from training.networks.airbench import fold_pooled_norms
from training.networks.served import ServedClassifier
from training.plots.curves import Panel
from training.presets.cnn import PRESETS, SPACE
from training.quantise.choice import Demand
from training.quantise.convolution import CALIBRATION_IMAGES, quantise_convolutions
from training.recovered import recover_classifier
from training.reports import accuracy, attention, calibration, fairness, mistakes, robustness
from training.seeds import derive
from training.tasks.classification import (
    CnnTask,
    channel_statistics,
    normalise,
    predict_logits,
    split_training,
)
from training.teacher import check_teacher

RECOVERING_IMAGES = 1000  # tell the means of a norm's maps
SEARCHED_SHARE = 0.1  # of the training images, held out to judge a search's trials


class Cnn(Kind[CnnConfig, ImageData]):
    """Images in, classes out."""

    name = "cnn"
    default_model = "cifar10"
    partner = "cifar10-gan"
    presets: ClassVar[Mapping[str, CnnConfig]] = PRESETS
    rules = (
        # 3 points below the goal: a model that has lost more is broken, not unlucky. Between two
        # models as good as each other, 5,000 test images leave 1 point to chance if they are not
        # the same.
        Rule("test_accuracy", "max", floor=0.88, tolerance=0.01),
    )
    fed = ("image",)
    # As many rows as a service begins to put together.
    int8 = Demand("test_accuracy", "max", most_loss=0.003, timed_rows=8)
    panels = (
        Panel("Loss", ("train_loss", "test_loss_nats", "val_loss_nats"), "nats"),
        Panel("Accuracy", ("train_accuracy", "test_accuracy", "val_accuracy"), "share right"),
    )
    reproduced_within = MappingProxyType(
        {
            "attacked_accuracy.*": 0.02,  # 10 of 500: where a gradient is near 0, its sign may turn
            "*accuracy*.*": 0.004,  # 2 of 500
        }
    )
    space = SPACE
    about = About(
        description="Classifies colour images; says where in the image it looked.",
        intended_use=(
            "Small colour photographs of one object of the classes listed. The `feature` output "
            "(pooled activations before the classifier) serves to compare images."
        ),
        limits=(
            "It always answers with one of its classes, also for an image of something else.",
            "It was trained on images of low resolution; larger ones are cropped and shrunk.",
            "The heat map is as coarse as the last feature map and shows association, not cause.",
        ),
        metric_notes={
            **accuracy.NOTES,
            **fairness.NOTES,
            **calibration.NOTES,
            **robustness.NOTES,
            **attention.NOTES,
            **mistakes.NOTES,
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
        """Features of the images, and their classes."""
        return profile_images(data.train.images, data.train.labels, data.classes)

    def check_new(
        self, data: ImageData, folder: Path, limits: Limits
    ) -> tuple[Check, Profile, Profile]:
        """Classes, their balance, features of the images."""
        size = data.train.images.shape[1]
        return check_images(read_new_images(folder, size=size), data, limits)

    def join(self, data: ImageData, folder: Path) -> tuple[ImageData, int]:
        """Images of test images' pixels are left out."""
        return join_images(data, read_new_images(folder, size=data.train.images.shape[1]))

    def task(self, config: CnnConfig, data: ImageData, device: torch.device) -> CnnTask:
        """Ready to be fitted."""
        return CnnTask(config, data, device)

    def is_taught(self, config: CnnConfig) -> bool:
        """By the weight that teachers have."""
        return config.distillation.weight > 0

    def check_teachers(
        self, config: CnnConfig, data: ImageData, teachers: Sequence[Manifest]
    ) -> None:
        """They must know these classes, and be heard."""
        if bool(teachers) != self.is_taught(config):
            raise ConfigError(
                "--teacher and distillation.weight above 0 go together", field="teacher"
            )
        for teacher in teachers:
            check_teacher(teacher, data)

    def recover(
        self, config: CnnConfig, data: ImageData, graph: Path
    ) -> Mapping[str, torch.Tensor]:
        """Batch norms, which the graph has folded, are made anew on training images."""
        if config.privacy.epsilon:
            raise ConfigError(
                "a private fit's norms are others; give its run's folder", field="start_from"
            )
        task = self.task(config, data, torch.device("cpu"))
        every = max(1, len(task.images) // RECOVERING_IMAGES)
        x_BCHW = normalise(task.images[::every], task.mean, task.deviation)
        return recover_classifier(graph, task.modules[task.served], x_BCHW)

    def hold_out(self, config: CnnConfig, data: ImageData) -> tuple[CnnConfig, ImageData]:
        """A share of the training images judges; the test images stay unseen."""
        share = max(config.validation_share, SEARCHED_SHARE)  # fewer could not tell trials apart
        return replace(config, validation_share=share), data

    def evaluate(
        self,
        config: CnnConfig,
        data: ImageData,
        graph: Path,
        folder: Path,
        judge: Path | None,
    ) -> Evaluation:
        """Every report on the test split."""
        classifier, test, classes = Classifier(graph), data.test, data.classes
        answers, seed = classifier.see(test.images), config.fit.seed
        predicted_N = answers.predicted
        right = classification.accuracy(predicted_N, test.labels)
        _, held_out = split_training(config, data)
        kept_back = 0 if held_out is None else len(held_out.labels)
        shown = attention.drawn_pictures(judge, classes, test.images.shape[1], seed)
        return Evaluation.join(
            (
                accuracy.report_accuracy(predicted_N, test.labels, classes, folder),
                fairness.report_fairness(test, predicted_N, classes, folder),
                calibration.report_calibration(
                    answers.probability, test.labels, classifier.temperature, kept_back, folder
                ),
                robustness.report_robustness(classifier, test, right, seed, folder),
                attention.report_attention(classifier, test, answers, classes, shown, seed, folder),
                mistakes.report_mistakes(test, answers, classes, folder),
            )
        )

    def examples(
        self, config: CnnConfig, data: ImageData, graph: Path, judge: Path | None = None
    ) -> Arrays:
        """Right or wrong, for each test image."""
        predicted_N = Classifier(graph).probabilities(data.test.images).argmax(axis=1)
        return {"test_accuracy": predicted_N == data.test.labels}

    def quantise(self, config: CnnConfig, data: ImageData, graph: Path, target: Path) -> bool:
        """The trunk's convolutions in int8, scales fixed on training images."""
        rng = np.random.default_rng(derive(config.fit.seed, "quantise"))
        some = rng.permutation(len(data.train.images))[:CALIBRATION_IMAGES]
        return quantise_convolutions(graph, target, data.train.images[some])

    def export(self, config: CnnConfig, data: ImageData, network: nn.Module) -> Export:
        """With normalisation, softmax, heat map and features in the graph."""
        size, classes = data.train.images.shape[1], len(data.classes)
        statistics = channel_statistics(data)
        folded = fold_pooled_norms(network)
        _, held_out = split_training(config, data)
        temperature = 1.0  # fitted on images seen in training it would be that of another network
        if held_out is not None:
            logits_NC = predict_logits(
                folded,
                held_out.images,
                *statistics,
                torch.device("cpu"),
                mirrored=config.mirrored,
            )
            temperature = fit_temperature(logits_NC.numpy(), held_out.labels)
        module = ServedClassifier(folded, *statistics, temperature, mirrored=config.mirrored).eval()
        with torch.no_grad():
            _, heat_Nhw, feature_ND = module(torch.zeros((1, size, size, 3), dtype=torch.uint8))
        return Export(
            module=module,
            inputs=(
                TensorSpec(
                    name="image",
                    dtype="uint8",
                    shape=("N", size, size, 3),
                    minimum=0,
                    maximum=255,
                    description="RGB",
                ),
            ),
            outputs=(
                TensorSpec(
                    name="probability",
                    dtype="float32",
                    shape=("N", classes),
                    minimum=0,
                    maximum=1,
                    description="of each class",
                ),
                TensorSpec(
                    name="heatmap",
                    dtype="float32",
                    shape=("N", *heat_Nhw.shape[1:]),
                    minimum=0,
                    maximum=1,
                    description="class activation of the top class",
                ),
                TensorSpec(
                    name="feature",
                    dtype="float32",
                    shape=("N", feature_ND.shape[1]),
                    description="pooled activations before the classifier",
                ),
            ),
            tolerance={"probability": 1e-3, "heatmap": 1e-2, "feature": 1e-2},
            draw_inputs=partial(draw_pictures, size),
            labels=data.classes,
            metadata={TEMPERATURE: f"{temperature:.9g}"},
        )


def draw_pictures(size: int, rows: int, rng: np.random.Generator) -> Arrays:
    """Blots of colour under noise: nearer to photographs than noise alone."""
    cells = -(-size // 4)
    blots = rng.integers(0, 256, (rows, cells, cells, 3)).repeat(4, axis=1).repeat(4, axis=2)
    noise = rng.normal(0, 20, (rows, size, size, 3))
    return {"image": (blots[:, :size, :size] + noise).clip(0, 255).astype(np.uint8)}


KIND = Cnn()
