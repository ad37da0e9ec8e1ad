"""What a kind gives to the rest of training: presets, data, and a task to fit, judge and export.

A fourth kind is one more module in this package with a `KIND` of its own; nothing else changes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from service.contract import DataRecord, Manifest, TensorSpec
from training.card import Figure, Sample, Section
from training.config import KindConfig
from training.data.describe import Description
from training.data.locate import locate
from training.drift.check import Check
from training.errors import ConfigError, DataError
from training.gate import Rule
from training.measures.drift import Limits, Profile
from training.plots.curves import Panel
from training.quantise.choice import Demand
from training.search.space import Dimension
from training.tasks.base import Task

Arrays = dict[str, NDArray[Any]]
ConfigT = TypeVar("ConfigT", bound=KindConfig)
DataT = TypeVar("DataT")


@dataclass(frozen=True)
class Export:
    """A network as it will be served: pre- and post-processing inside, contract's tensor names."""

    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    tolerance: Mapping[str, float]
    """Largest absolute difference between the graph and torch, for each output."""
    draw_inputs: Callable[[int, np.random.Generator], Arrays]
    """Random inputs that a client might send: (rows, rng) to arrays."""
    labels: tuple[str, ...] = ()
    vocabulary: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the file says of itself beside its tensors."""


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found; all but `private` goes into the model card."""

    metrics: dict[str, float]
    """Figures of the whole by plain names, of a class, group or strength as `<figure>.<which>`."""
    figures: tuple[Figure, ...] = ()
    samples: tuple[Sample, ...] = ()
    sections: tuple[Section, ...] = ()
    private: tuple[Figure, ...] = ()
    """Plots that show the data set's own pictures: for the report beside the plots alone."""

    @classmethod
    def join(cls, parts: Iterable[Evaluation]) -> Evaluation:
        """Everything that the parts found, in their order."""
        parts = tuple(parts)
        return cls(
            metrics={name: value for part in parts for name, value in part.metrics.items()},
            figures=tuple(figure for part in parts for figure in part.figures),
            samples=tuple(sample for part in parts for sample in part.samples),
            sections=tuple(section for part in parts for section in part.sections),
            private=tuple(figure for part in parts for figure in part.private),
        )


@dataclass(frozen=True)
class About:
    """What the model card says of every model of a kind."""

    description: str
    intended_use: str
    limits: tuple[str, ...]
    metric_notes: Mapping[str, str]


class Kind(ABC, Generic[ConfigT, DataT]):
    """A family of models."""

    name: str
    default_model: str
    """The name under which the shipped preset is published."""
    about: About
    presets: ClassVar[Mapping[str, Any]]
    """`standard` is the shipped one; `tiny` is for tests; the rest are there to be beaten."""
    rules: Sequence[Rule]
    panels: Sequence[Panel]
    """The curves of a run."""
    partner: str = ""
    """The published model that takes part in the evaluation unless another is named: the judge of
    a generator's samples; the generator of the pictures that a classifier's card may show."""
    baseline: str = ""
    """The published model whose figures stand beside one's own unless another is named."""
    reproduced_within: Mapping[str, float] = MappingProxyType({})
    """By how much another processor's rounding may change a figure of the same graph: patterns of
    metrics to absolute tolerances, the first that matches counts."""
    fed: Sequence[str] = ()
    """Inputs that held-out data are fed to: two versions of which these differ answer no common
    examples."""
    int8: Demand | None = None
    """What an int8 graph of this kind must keep to be served; None: there is none."""
    space: Sequence[Dimension] = ()
    """What a search varies unless it is told otherwise."""
    searched_by: tuple[str, str] | None = None
    """(metric, "max" or "min") of a search of a kind whose fits have no `monitor`: a figure that
    the attending partner gives."""

    @abstractmethod
    def load_data(self, source: str | None, cache_dir: Path) -> DataT:
        """Read the data; None is the kind's usual data set. Raises DataError."""

    @abstractmethod
    def record(self, data: DataT) -> DataRecord:
        """What the manifest says of the data."""

    @abstractmethod
    def describe(self, data: DataT, out_dir: Path) -> Description:
        """A look at the data: text to print; plots go to `out_dir`."""

    def profile(self, data: DataT) -> Profile:
        """The training split as live traffic is compared with it."""
        raise DataError(f"drift of a {self.name} is not measured")

    def check_new(
        self, data: DataT, folder: Path, limits: Limits
    ) -> tuple[Check, Profile, Profile]:
        """Whether new labelled data fit; and the profiles (training split, new) behind that.

        Raises DataError if they cannot be read.
        """
        raise DataError(f"a {self.name} takes no new data")

    def join(self, data: DataT, folder: Path) -> tuple[DataT, int]:
        """The data with new ones in their training split; and how many examples were left out,
        being held out for tests already.

        Raises DataError if they cannot be read, or do not fit.
        """
        raise DataError(f"a {self.name} takes no new data")

    def load_recorded(
        self,
        record: DataRecord,
        places: Iterable[Path],
        cache_dir: Path,
        *,
        option: str = "--data",
    ) -> DataT:
        """The data that a manifest names, found among `places` (files, folders that hold them).

        Raises DataError if they are not there (`option` names them), or are others.
        """
        places, first = list(places), record.parts[0] if record.parts else record
        data = self.load_data(locate(first, places, option=option), cache_dir)
        for part in record.parts[1:]:
            source = locate(part, places, option=option)
            assert source is not None  # new data have no official address
            data, _ = self.join(data, Path(source))
        found = self.record(data)
        if found.sha256 != record.sha256:
            raise DataError(
                f"the model was trained on data of sha256 {record.sha256}; {found.source} has "
                f"{found.sha256}"
            )
        return data

    @abstractmethod
    def task(self, config: ConfigT, data: DataT, device: torch.device) -> Task:
        """Build the networks (weights drawn from the configuration's seed) and the batches."""

    def hold_out(self, config: ConfigT, data: DataT) -> tuple[ConfigT, DataT]:
        """For a search: configuration and data whose validation figure is of training data that
        a fit does not see. Whatever the model is judged by in the end stays out of it.
        """
        return config, data

    def is_taught(self, config: ConfigT) -> bool:
        """Whether a fit of these settings learns from published models besides the data."""
        return False

    def check_teachers(self, config: ConfigT, data: DataT, teachers: Sequence[Manifest]) -> None:
        """Before a run: raise ConfigError unless a fit can learn from these versions."""
        if teachers:
            raise ConfigError(f"a {self.name} learns from no teacher", field="teacher")

    def recover(self, config: ConfigT, data: DataT, graph: Path) -> Mapping[str, torch.Tensor]:
        """The served network's weights, as the float32 `graph` of such a configuration holds them:
        what a fit can begin with. Raises ConfigError where they cannot be read.
        """
        raise ConfigError(
            f"a {self.name} cannot begin with a published graph; give a run's folder "
            "(--start-from), or a --preset to begin afresh",
            field="start_from",
        )

    def attend(self, task: Task, config: ConfigT, data: DataT, partner: Path) -> None:
        """Before a fit: let the published partner, a version folder, look on while it goes."""
        return

    @abstractmethod
    def evaluate(
        self, config: ConfigT, data: DataT, graph: Path, folder: Path, judge: Path | None
    ) -> Evaluation:
        """Measure what will be served on held-out data and draw plots into `folder`.

        `graph` is the ONNX file; it is run as the service runs it, in a session of one thread on
        the CPU. The figures are a function of the arguments. `judge` is the version folder of the
        `partner`, or None if that is not published yet.
        """

    def compare(
        self, config: ConfigT, data: DataT, baseline: Path, judge: Path | None
    ) -> Evaluation | None:
        """The figures of another published model, the version folder `baseline`, to stand beside
        those of `evaluate`; None if it is not comparable.
        """
        return None

    @abstractmethod
    def examples(
        self, config: ConfigT, data: DataT, graph: Path, judge: Path | None = None
    ) -> Arrays:
        """What the metrics of `rules` are means of: for each a score of every example [N], bool
        where an example has it or has not, float64 otherwise.

        Row n of two graphs of this kind is of the same example: the gate compares them in pairs.
        """

    def score(
        self, config: ConfigT, data: DataT, graph: Path, judge: Path | None = None
    ) -> dict[str, float]:
        """The metrics of `rules` alone, as `evaluate` measures them: quick, to choose between
        graphs of the same weights.
        """
        found = self.examples(config, data, graph, judge)
        return {metric: float(score_N.mean()) for metric, score_N in found.items()}

    def quantise(self, config: ConfigT, data: DataT, graph: Path, target: Path) -> bool:
        """Write the int8 form of the float32 `graph` to `target`; False if it has none."""
        return False

    @abstractmethod
    def export(self, config: ConfigT, data: DataT, network: nn.Module) -> Export:
        """Wrap the fitted network as it will be served."""
